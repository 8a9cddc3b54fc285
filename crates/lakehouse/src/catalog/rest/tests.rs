//! The protocol over a real socket: what is listed is served, and what an answer has in it.

use super::{ENDPOINTS, router};
use crate::catalog::tests::{Lake, Server, serve};
use serde_json::{Value, json};

/// The catalog behind HTTP, asked as a client asks it.
struct Asked {
    lake: Lake,
    server: Server,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

struct Answer {
    status: u16,
    etag: Option<String>,
    body: Value,
}

impl Asked {
    fn new() -> Asked {
        let lake = Lake::open();
        Asked {
            server: serve(router(lake.catalog.clone())),
            lake,
            runtime: tokio::runtime::Runtime::new().unwrap(),
            client: reqwest::Client::new(),
        }
    }

    fn send(&self, method: &str, path: &str, body: &Value, known: Option<&str>) -> Answer {
        let known = known.map(|tag| ("if-none-match", tag));
        self.send_with(method, path, body, known)
    }

    fn send_with(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        header: Option<(&str, &str)>,
    ) -> Answer {
        let method = method.parse().unwrap();
        let mut request = self
            .client
            .request(method, format!("{}/v1{path}", self.server.uri));
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let etag = answer.headers().get("etag");
            let etag = etag.map(|tag| tag.to_str().unwrap().to_owned());
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Answer { status, etag, body }
        })
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &Value::Null, None)
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &body, None)
    }
}

fn fields() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 1, "name": "id", "required": false, "type": "long"},
    ]})
}

fn view(name: &str) -> Value {
    json!({"name": name, "schema": fields(), "properties": {"k": "v"}, "view-version": {
        "version-id": 1, "schema-id": 0, "timestamp-ms": 1_700_000_000_000_i64, "summary": {},
        "representations": [{"type": "sql", "sql": "SELECT 1", "dialect": "spark"}],
        "default-namespace": ["n"],
    }})
}

/// A key as clients make them, told apart by a number.
fn key(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

fn not_offered(answer: &Answer) -> bool {
    let message = answer.body["error"]["message"].as_str();
    answer.status == 405 || message.is_some_and(|message| message.starts_with("no such endpoint"))
}

#[test]
fn every_endpoint_that_is_listed_is_served_and_the_others_are_not() {
    let asked = Asked::new();
    let listed = asked.get("/config").body["endpoints"].clone();
    assert_eq!(listed, json!(ENDPOINTS));
    for endpoint in ENDPOINTS {
        let (method, path) = endpoint.split_once(" /v1").unwrap();
        let path = path.replace("/{prefix}", "").replace("{namespace}", "n");
        let path = path.replace("{table}", "t").replace("{view}", "v");
        let answer = asked.send(method, &path, &json!({}), None);
        assert!(!not_offered(&answer), "{endpoint}: {}", answer.status);
    }
    for (method, path) in [
        ("POST", "/namespaces/n/tables/t/plan"),
        ("POST", "/namespaces/n/tables/t/tasks"),
        ("GET", "/namespaces/n/functions"),
        ("DELETE", "/config"),
    ] {
        let answer = asked.send(method, path, &Value::Null, None);
        assert!(not_offered(&answer), "{method} {path}: {}", answer.status);
    }
}

#[test]
fn a_view_lives_over_http() {
    let asked = Asked::new();
    let made = asked.post("/namespaces/n/views", view("v"));
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(made.body["metadata"]["properties"], json!({"k": "v"}));
    let uuid = &made.body["metadata"]["view-uuid"];
    let replace = json!({
        "identifier": {"namespace": ["n"], "name": "v"},
        "requirements": [{"type": "assert-view-uuid", "uuid": uuid}],
        "updates": [
            {"action": "add-view-version", "view-version": {
                "version-id": 2, "schema-id": 0, "timestamp-ms": 1_700_000_001_000_i64, "summary": {},
                "representations": [{"type": "sql", "sql": "SELECT 2", "dialect": "spark"}],
                "default-namespace": ["n"],
            }},
            {"action": "set-current-view-version", "view-version-id": -1},
        ],
    });
    let replaced = asked.post("/namespaces/n/views/v", replace);
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    assert_eq!(replaced.body["metadata"]["current-version-id"], 2);
    let loaded = asked.get("/namespaces/n/views/v").body;
    assert_eq!(loaded, replaced.body);
    assert_ne!(loaded["metadata-location"], made.body["metadata-location"]);

    for name in ["w", "x"] {
        assert_eq!(asked.post("/namespaces/n/views", view(name)).status, 200);
    }
    let page = asked.get("/namespaces/n/views?pageSize=2").body;
    assert_eq!(page["identifiers"].as_array().unwrap().len(), 2);
    let token = page["next-page-token"].as_str().unwrap();
    let last = asked.get(&format!("/namespaces/n/views?pageSize=2&pageToken={token}"));
    let x = json!({"namespace": ["n"], "name": "x"});
    let expected = json!({"identifiers": [x], "next-page-token": null});
    assert_eq!(last.body, expected);

    let rename = json!({"source": x, "destination": {"namespace": ["n"], "name": "y"}});
    assert_eq!(asked.post("/views/rename", rename).status, 204);
    let there = |name: &str| {
        let path = format!("/namespaces/n/views/{name}");
        asked.send("HEAD", &path, &Value::Null, None).status
    };
    assert_eq!((there("x"), there("y")), (404, 204));
    let place = loaded["metadata-location"].clone();
    assert_eq!(
        asked
            .send("DELETE", "/namespaces/n/views/v", &Value::Null, None)
            .status,
        204
    );
    let register = json!({"name": "z", "metadata-location": place});
    let again = asked.post("/namespaces/n/register-view", register).body;
    assert_eq!(again["metadata"]["view-uuid"], *uuid);
    let gone = asked.get("/namespaces/n/views/v");
    let error =
        json!({"message": "View does not exist: n.v", "type": "NoSuchViewException", "code": 404});
    assert_eq!((gone.status, gone.body), (404, json!({"error": error})));
}

#[test]
fn a_table_is_sent_with_the_snapshots_that_were_asked_for() {
    let asked = Asked::new();
    asked.lake.with_snapshots("t", 3);
    let path = "/namespaces/n/tables/t";
    let ids = |answer: &Answer| -> Vec<i64> {
        let snapshots = answer.body["metadata"]["snapshots"].as_array().unwrap();
        let ids = snapshots.iter().map(|snapshot| &snapshot["snapshot-id"]);
        ids.map(|id| id.as_i64().unwrap()).collect()
    };
    let all = asked.get(path);
    assert_eq!(ids(&all), [1, 2, 3], "in the order in which they were made");
    let refs = asked.get(&format!("{path}?snapshots=refs"));
    assert_eq!(ids(&refs), [3]);
    assert_eq!(
        refs.body["metadata"]["snapshot-log"],
        all.body["metadata"]["snapshot-log"]
    );

    // What a client has of the one kind is not the other.
    let (all, refs) = (all.etag.unwrap(), refs.etag.unwrap());
    let status = |path: &str, tag: &str| {
        let answer = asked.send("GET", path, &Value::Null, Some(tag));
        (answer.status, answer.etag)
    };
    assert_eq!(status(path, &all), (304, Some(all.clone())));
    assert_eq!(status(path, &format!("\"old\", W/{all}")).0, 304);
    assert_eq!(status(path, &refs).0, 200);
    assert_eq!(status(&format!("{path}?snapshots=refs"), &refs).0, 304);
    asked.lake.with_property("t", "k", "v");
    assert_eq!(status(path, &all).0, 200);
}

/// Names are segments of paths, whatever is in them.
#[test]
fn a_slash_in_a_name_is_part_of_it() {
    let asked = Asked::new();
    let made = asked.post("/namespaces", json!({"namespace": ["new/db"]}));
    assert_eq!(made.status, 200, "{}", made.body);
    let body = json!({"name": "tab/le", "schema": fields()});
    let made = asked.post("/namespaces/new%2Fdb/tables", body.clone());
    assert_eq!(made.status, 200, "{}", made.body);
    let place = asked.lake.at("warehouse/new_db/tab_le");
    assert_eq!(made.body["metadata"]["location"], place);
    // Another that would get the same folder.
    asked.post("/namespaces", json!({"namespace": ["new_db"]}));
    let other = asked.post(
        "/namespaces/new_db/tables",
        json!({"name": "tab_le", "schema": fields()}),
    );
    assert_ne!(other.body["metadata"]["location"], place);
    let loaded = asked.get("/namespaces/new%2Fdb/tables/tab%2Fle").body;
    assert_eq!(loaded["metadata"]["location"], place);
    let listed = asked.get("/namespaces").body;
    assert_eq!(listed["namespaces"], json!([["n"], ["new/db"], ["new_db"]]));
}

/// Java's clients say "malformed request" before a `BadRequestException`, and nothing before the other.
#[test]
fn what_breaks_a_rule_is_not_called_malformed() {
    let asked = Asked::new();
    let said = |answer: Answer| {
        let error = &answer.body["error"];
        let text = |field: &str| error[field].as_str().unwrap().to_owned();
        (answer.status, text("type"), text("message"))
    };
    let mut twice = view("v");
    let queries = twice["view-version"]["representations"]
        .as_array_mut()
        .unwrap();
    queries.push(json!({"type": "sql", "sql": "SELECT 2", "dialect": "spark"}));
    let (status, kind, message) = said(asked.post("/namespaces/n/views", twice));
    let expected = "Invalid view version: Cannot add multiple queries for dialect spark";
    assert_eq!((status, message.as_str()), (400, expected));
    assert_eq!(kind, "IllegalArgumentException");
    let unread = said(asked.post("/namespaces/n/views", json!({"name": "v"})));
    assert_eq!((unread.0, unread.1.as_str()), (400, "BadRequestException"));
}

/// What Java's clients look for in a refusal.
#[test]
fn conflicts_have_the_words_of_icebergs_own_catalogs() {
    let asked = Asked::new();
    asked.lake.with_snapshots("t", 1);
    let other = uuid::Uuid::from_u128(1);
    let requirement = |kind: &str, name: &str, value: Value| json!({"type": kind, name: value});
    let reference = |name: &str, id: Value| json!({"type": "assert-ref-snapshot-id", "ref": name, "snapshot-id": id});
    let cases = [
        (json!({"type": "assert-create"}), "table already exists"),
        (
            requirement("assert-table-uuid", "uuid", json!(other)),
            "UUID does not match: expected 00000000-0000-0000-0000-000000000001 != ",
        ),
        (
            requirement(
                "assert-last-assigned-field-id",
                "last-assigned-field-id",
                json!(7),
            ),
            "last assigned field id changed: expected id 7 != 1",
        ),
        (
            requirement("assert-current-schema-id", "current-schema-id", json!(7)),
            "current schema changed: expected id 7 != 0",
        ),
        (
            requirement(
                "assert-last-assigned-partition-id",
                "last-assigned-partition-id",
                json!(7),
            ),
            "last assigned partition id changed: expected id 7 != 999",
        ),
        (
            requirement("assert-default-spec-id", "default-spec-id", json!(7)),
            "default partition spec changed: expected id 7 != 0",
        ),
        (
            requirement(
                "assert-default-sort-order-id",
                "default-sort-order-id",
                json!(7),
            ),
            "default sort order changed: expected id 7 != 0",
        ),
        (
            reference("main", Value::Null),
            "branch main was created concurrently",
        ),
        (
            reference("main", json!(7)),
            "branch main has changed: expected id 7 != 1",
        ),
        (
            reference("side", json!(7)),
            "branch or tag side is missing, expected 7",
        ),
    ];
    for (requirement, words) in cases {
        let set = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
        let commit = json!({"requirements": [requirement], "updates": set});
        let answer = asked.post("/namespaces/n/tables/t", commit);
        let error = &answer.body["error"];
        assert_eq!(
            (answer.status, &error["type"]),
            (409, &json!("CommitFailedException"))
        );
        let message = error["message"].as_str().unwrap();
        let expected = format!("Requirement failed: {words}");
        assert!(
            message.starts_with(&expected),
            "{message} is not {expected}"
        );
    }
}

#[test]
fn a_table_without_its_metadata_file_is_not_called_missing() {
    let asked = Asked::new();
    asked.lake.with_snapshots("t", 1);
    let loaded = asked.get("/namespaces/n/tables/t").body;
    let place = loaded["metadata-location"].as_str().unwrap();
    std::fs::remove_file(place.trim_start_matches("file://")).unwrap();
    let answer = asked.get("/namespaces/n/tables/t");
    let message = format!("Failed to open input stream for file: {place}");
    let error = json!({"message": message, "type": "NotFoundException", "code": 404});
    assert_eq!((answer.status, answer.body), (404, json!({"error": error})));
}

#[test]
fn of_two_who_make_the_same_view_one_does() {
    let asked = Asked::new();
    let mut both = std::thread::scope(|scope| {
        let make = || asked.post("/namespaces/n/views", view("v")).status;
        [scope.spawn(make), scope.spawn(make)].map(|thread| thread.join().unwrap())
    });
    both.sort_unstable();
    assert_eq!(both, [200, 409]);
}

#[test]
fn a_request_with_a_key_is_carried_out_once() {
    let asked = Asked::new();
    assert_eq!(
        asked.get("/config").body["idempotency-key-lifetime"],
        "PT30M"
    );
    let post = |path: &str, body: &Value, number: u128| {
        let key = key(number);
        asked.send_with("POST", path, body, Some(("idempotency-key", &key)))
    };
    let table = json!({"name": "t", "schema": fields()});
    let made = post("/namespaces/n/tables", &table, 1);
    let again = post("/namespaces/n/tables", &table, 1);
    assert_eq!((made.status, again.status), (200, 200));
    assert_eq!(made.body, again.body);
    assert_eq!(post("/namespaces/n/tables", &table, 2).status, 409);

    // Its requirement does not hold any more: it has done that itself.
    let column = json!({"id": 2, "name": "v", "required": false, "type": "string"});
    let mut wider = fields();
    wider["fields"].as_array_mut().unwrap().push(column);
    let commit = json!({
        "requirements": [{"type": "assert-last-assigned-field-id", "last-assigned-field-id": 1}],
        "updates": [
            {"action": "add-schema", "schema": wider, "last-column-id": 2},
            {"action": "set-current-schema", "schema-id": -1},
        ],
    });
    let path = "/namespaces/n/tables/t";
    let first = post(path, &commit, 3);
    assert_eq!(
        first.body["metadata"]["current-schema-id"], 1,
        "{}",
        first.body
    );
    assert_eq!(post(path, &commit, 3).body, first.body);
    assert_eq!(post(path, &commit, 4).status, 409);
    // A success is answered by what is there by then.
    asked.lake.with_property("t", "k", "v");
    let later = post(path, &commit, 3).body;
    assert_eq!(later["metadata"]["properties"]["k"], "v");

    let other = post(path, &json!({"updates": []}), 3);
    let message = format!("the idempotency key {} belongs to another request", key(3));
    let error = json!({"message": message, "type": "UnprocessableEntityException", "code": 422});
    assert_eq!(other.body, json!({"error": error}));
    let wrong = asked.send_with("POST", path, &commit, Some(("idempotency-key", "seven")));
    assert_eq!(wrong.status, 400);

    // A drop that came through twice takes the next table of that name not with it.
    let drop = |number: u128| {
        let key = key(number);
        asked.send_with(
            "DELETE",
            path,
            &Value::Null,
            Some(("idempotency-key", &key)),
        )
    };
    assert_eq!(drop(5).status, 204);
    assert_eq!(asked.post("/namespaces/n/tables", table).status, 200);
    assert_eq!(drop(5).status, 204);
    assert_eq!(asked.get(path).status, 200);
    // A refusal stays one.
    let rename = |from: &str| json!({"source": {"namespace": ["n"], "name": from}, "destination": {"namespace": ["n"], "name": "u"}});
    assert_eq!(post("/tables/rename", &rename("none"), 6).status, 404);
    asked.lake.with_snapshots("none", 1);
    assert_eq!(post("/tables/rename", &rename("none"), 6).status, 404);
    assert_eq!(post("/tables/rename", &rename("none"), 7).status, 204);
    // A conflict is none: whoever comes again is judged by what is there then.
    let mine = json!({"requirements": [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}], "updates": []});
    assert_eq!(post(path, &mine, 8).status, 409);
    let list = asked.lake.at("warehouse/n/t/metadata/l.avro");
    asked.lake.add_snapshot("t", 1, &list);
    assert_eq!(post(path, &mine, 8).status, 200);
}

#[test]
fn a_change_of_properties_that_comes_again_is_answered_as_it_was() {
    let asked = Asked::new();
    let change = |number: u128| {
        let body = json!({"removals": ["a", "b"], "updates": {"c": "d"}});
        let key = key(number);
        let header = Some(("idempotency-key", key.as_str()));
        let path = "/namespaces/n/properties";
        asked.send_with("POST", path, &body, header).body
    };
    asked.post(
        "/namespaces/n/properties",
        json!({"updates": {"a": "1", "b": "2"}}),
    );
    let first = json!({"updated": ["c"], "removed": ["a", "b"], "missing": []});
    assert_eq!(change(1), first);
    assert_eq!(change(1), first);
    let other = json!({"updated": ["c"], "removed": [], "missing": ["a", "b"]});
    assert_eq!(change(2), other);
    assert_eq!(change(2), other);
}

#[test]
fn of_one_request_twice_at_once_one_is_carried_out() {
    let asked = Asked::new();
    let (body, key) = (view("v"), key(1));
    let header = Some(("idempotency-key", key.as_str()));
    let answers = std::thread::scope(|scope| {
        let make = || asked.send_with("POST", "/namespaces/n/views", &body, header);
        [scope.spawn(make), scope.spawn(make)].map(|thread| thread.join().unwrap())
    });
    let [one, two] = answers;
    assert_eq!((one.status, two.status), (200, 200));
    assert_eq!(one.body, two.body);
}

#[test]
fn reports_of_clients_are_counted() {
    let asked = Asked::new();
    asked.lake.with_snapshots("t", 1);
    let path = "/namespaces/n/tables/t/metrics";
    let report = |kind: &str| {
        asked
            .post(path, json!({"report-type": kind, "snapshot-id": 1}))
            .status
    };
    let kinds = [
        "scan-report",
        "commit-report",
        "scan-report",
        "weather-report",
    ];
    assert_eq!(kinds.map(report), [204, 204, 204, 400]);
    let none = asked.post(
        &path.replace("/t/", "/u/"),
        json!({"report-type": "scan-report"}),
    );
    assert_eq!(none.status, 404);
    assert_eq!(asked.lake.catalog.reports(), (2, 1));
}
