//! The routes: one short function each, shape `parse → ask the part → JSON`.

use crate::{Compaction, Erase, Parts, Promote, RefChange, Refusal, Replay, Rollback, Script};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lw_runtime::job::Stop;
use lw_runtime::pipelines::{Submission, Word};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The router over `parts`, to be served by the [shell](crate::shell).
pub fn router(parts: Arc<Parts>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/pipelines", get(list).post(submit))
        .route("/api/v1/pipelines/{name}", get(show).delete(drop_pipeline))
        .route("/api/v1/pipelines/{name}/stop", post(stop))
        .route("/api/v1/pipelines/{name}/savepoint", post(savepoint))
        .route("/api/v1/pipelines/{name}/resume", post(resume))
        .route("/api/v1/pipelines/{name}/output", get(output))
        .route("/api/v1/check", post(check))
        .route("/api/v1/sql", post(crate::sql::sql))
        .route("/api/v1/tables", get(tables))
        .route("/api/v1/tables/{name}", get(table))
        .route("/api/v1/tables/{name}/refs", post(change_ref))
        .route("/api/v1/tables/{name}/rollback", post(roll_back))
        .route("/api/v1/tables/{name}/replay", post(replay))
        .route("/api/v1/tables/{name}/promote", post(promote))
        .route("/api/v1/tables/{name}/erase", post(erase))
        .route("/api/v1/tables/{name}/compact", post(compact))
        .route("/api/v1/audit/{table}", get(audit))
        .with_state(parts)
}

type Answer = Result<Json<Value>, Refusal>;

/// Runs a part that blocks (on disk, on a job's end) away from the runtime's threads.
async fn ask<T: Send + 'static>(
    parts: Arc<Parts>,
    question: impl FnOnce(&Parts) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || question(&parts)).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic; please report it");
            Err(Refusal::new(500, "the server failed on this request")
                .hint("The server's log has the reason."))
        }
    }
}

async fn health(State(parts): State<Arc<Parts>>) -> Response {
    let trouble = match ask(parts, |parts| Ok((parts.trouble)())).await {
        Ok(trouble) => trouble,
        Err(refusal) => return refusal.into_response(),
    };
    match trouble {
        None => Json(json!({ "status": "ok" })).into_response(),
        Some(reason) => {
            let body = Json(json!({ "status": "degraded", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(parts): State<Arc<Parts>>) -> Result<Response, Refusal> {
    let text = ask(parts, |parts| Ok((parts.metrics)())).await?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

async fn status(State(parts): State<Arc<Parts>>) -> Json<crate::Status> {
    Json(parts.status.clone())
}

#[derive(Deserialize)]
struct Checked {
    file: String,
    sql: String,
}

async fn check(State(parts): State<Arc<Parts>>, Json(request): Json<Checked>) -> Answer {
    ask(parts, move |parts| {
        let script = Script {
            name: request.file.clone(),
            file: request.file,
            sql: request.sql,
        };
        Ok(Json((parts.check)(&script)?))
    })
    .await
}

#[derive(Deserialize)]
struct Submit {
    name: String,
    /// The script's file, for messages; the name where there is none.
    file: Option<String>,
    sql: String,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    drop_state: Vec<String>,
    /// The folder of a savepoint, on this machine.
    from_savepoint: Option<PathBuf>,
}

async fn submit(State(parts): State<Arc<Parts>>, Json(request): Json<Submit>) -> Answer {
    ask(parts, move |parts| {
        let script = Script {
            file: request.file.unwrap_or_else(|| request.name.clone()),
            name: request.name,
            sql: request.sql,
        };
        let planned = (parts.plan)(&script)?;
        if planned.jobs.is_empty() && !planned.explanations.is_empty() {
            return Ok(Json(
                json!({ "explanations": planned.explanations, "notices": planned.notices }),
            ));
        }
        let submission = Submission {
            name: planned.name.clone(),
            sql: script.sql,
            jobs: planned.jobs,
            settings: planned.settings,
            replace: request.replace,
            adopt: request.adopt,
            drop_state: request.drop_state,
        };
        let (state, outcome) = match &request.from_savepoint {
            Some(folder) => {
                let state = parts.pipelines.state_plan_from(&submission, folder)?;
                (state, parts.pipelines.submit_from(&submission, folder)?)
            }
            None => {
                let state = parts.pipelines.state_plan(&submission)?;
                (state, parts.pipelines.submit(submission)?)
            }
        };
        Ok(Json(json!({
            "pipeline": planned.name,
            "outcome": outcome,
            "state": state,
            "explanations": planned.explanations,
            "notices": planned.notices,
        })))
    })
    .await
}

async fn list(State(parts): State<Arc<Parts>>) -> Answer {
    ask(parts, |parts| Ok(Json(json!(parts.pipelines.list())))).await
}

async fn show(State(parts): State<Arc<Parts>>, Path(name): Path<String>) -> Answer {
    ask(parts, move |parts| {
        Ok(Json(json!(parts.pipelines.show(&name)?)))
    })
    .await
}

/// How to stop: with a savepoint, into which folder of this machine, and whether event time ends.
#[derive(Deserialize, Default)]
struct Stopping {
    #[serde(default)]
    savepoint: bool,
    #[serde(default)]
    drain: bool,
    to: Option<PathBuf>,
}

async fn stop(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    request: Option<Json<Stopping>>,
) -> Answer {
    let Json(request) = request.unwrap_or_default();
    let how = match request.drain {
        true => Stop::Drains,
        false => Stop::Keeps,
    };
    if !request.savepoint && (request.drain || request.to.is_some()) {
        return Err(
            Refusal::new(400, "a pipeline is drained with a savepoint only")
                .hint("Say `savepoint`, too."),
        );
    }
    ask(parts, move |parts| {
        if !request.savepoint {
            parts.pipelines.stop(&name)?;
            return Ok(Json(json!(parts.pipelines.show(&name)?)));
        }
        let to = request.to.as_deref();
        let savepoint = parts.pipelines.stop_with_savepoint(&name, how, to)?;
        Ok(Json(
            json!({ "pipeline": parts.pipelines.show(&name)?, "savepoint": savepoint }),
        ))
    })
    .await
}

/// Where to.
#[derive(Deserialize, Default)]
struct Saving {
    to: Option<PathBuf>,
}

async fn savepoint(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    request: Option<Json<Saving>>,
) -> Answer {
    let Json(request) = request.unwrap_or_default();
    ask(parts, move |parts| {
        let savepoint = parts.pipelines.savepoint(&name, request.to.as_deref())?;
        Ok(Json(json!(savepoint)))
    })
    .await
}

/// At most one of them: the words for a pipeline that paused.
#[derive(Deserialize, Default)]
struct Resume {
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    rewind: bool,
    #[serde(default)]
    skip_lost: bool,
}

async fn resume(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    request: Option<Json<Resume>>,
) -> Answer {
    let Json(request) = request.unwrap_or_default();
    let asked = [
        (request.adopt, Word::Adopt),
        (request.rewind, Word::Rewind),
        (request.skip_lost, Word::SkipLost),
    ];
    let mut asked = asked.iter().filter(|(asked, _)| *asked);
    let word = asked.next().map(|(_, word)| *word);
    if asked.next().is_some() {
        return Err(Refusal::new(400, "adopt, rewind and skip_lost exclude each other")
            .hint("Adopt leaves out what the table does not show, rewind reads it again; skip_lost goes on where the log begins."));
    }
    ask(parts, move |parts| {
        parts.pipelines.resume(&name, word)?;
        Ok(Json(json!(parts.pipelines.show(&name)?)))
    })
    .await
}

async fn drop_pipeline(State(parts): State<Arc<Parts>>, Path(name): Path<String>) -> Answer {
    ask(parts, move |parts| {
        parts.pipelines.drop_pipeline(&name)?;
        Ok(Json(json!({ "dropped": name })))
    })
    .await
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn output(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Query(from): Query<From>,
) -> Json<Value> {
    let (lines, next) = (parts.output)(&name, from.from);
    Json(json!({ "lines": lines, "next": next }))
}

async fn tables(State(parts): State<Arc<Parts>>) -> Answer {
    ask(parts, |parts| (parts.tables)().map(Json)).await
}

async fn table(State(parts): State<Arc<Parts>>, Path(name): Path<String>) -> Answer {
    ask(parts, move |parts| (parts.table)(&name).map(Json)).await
}

async fn change_ref(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Json(request): Json<RefChange>,
) -> Answer {
    ask(parts, move |parts| {
        (parts.change_ref)(&name, &request).map(Json)
    })
    .await
}

async fn roll_back(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Json(request): Json<Rollback>,
) -> Answer {
    ask(parts, move |parts| {
        (parts.roll_back)(&name, &request).map(Json)
    })
    .await
}

async fn replay(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Json(request): Json<Replay>,
) -> Answer {
    ask(parts, move |parts| {
        (parts.replay)(&name, &request).map(Json)
    })
    .await
}

async fn promote(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Json(request): Json<Promote>,
) -> Answer {
    ask(parts, move |parts| {
        (parts.promote)(&name, &request).map(Json)
    })
    .await
}

async fn erase(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    Json(request): Json<Erase>,
) -> Answer {
    ask(parts, move |parts| (parts.erase)(&name, &request).map(Json)).await
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Compact {
    #[serde(default)]
    dry_run: bool,
}

async fn compact(
    State(parts): State<Arc<Parts>>,
    Path(name): Path<String>,
    request: Option<Json<Compact>>,
) -> Answer {
    let Json(request) = request.unwrap_or_default();
    let how = match request.dry_run {
        true => Compaction::Planned,
        false => Compaction::Done,
    };
    let client = Client::default();
    let gone = client.0.clone();
    ask(parts, move |parts| {
        (parts.compact)(&name, how, &|| gone.load(Ordering::Relaxed)).map(Json)
    })
    .await
}

async fn audit(State(parts): State<Arc<Parts>>, Path(table): Path<String>) -> Answer {
    let client = Client::default();
    let gone = client.0.clone();
    ask(parts, move |parts| {
        (parts.audit)(&table, &|| gone.load(Ordering::Relaxed)).map(Json)
    })
    .await
}

/// Whoever waits for an answer: the request ends, and this with it, when the connection does.
#[derive(Default)]
struct Client(Arc<AtomicBool>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
