"""Who may pass the HTTP sockets: the token of `--token-file`, and sockets that the whole network could reach."""
import base64
import subprocess

import pytest
import requests

from lakeward import BINARY

SECRET = "s3cret-of-the-lake"
WRONG = "s3cret-of-the-lakf"


@pytest.fixture
def guarded(serve, folder):
    secret = folder / "token"
    secret.write_text(f"  {SECRET}\n")
    return serve(arguments=["--token-file", str(secret)])


def doors(server):
    """Of each socket: something that answers 200, and what an error of its protocol has."""
    return {
        "registry": (server.registry + "/subjects", lambda body: body["error_code"] == 401 and body["message"]),
        "catalog": (server.catalog + "/v1/config", lambda body: body["error"]["code"] == 401 and body["error"]["type"] == "NotAuthorizedException"),
        "http": (server.ready["http"] + "/api/v1/status", lambda body: body["error"]["message"] and body["error"]["hint"]),
    }


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("door", ["registry", "catalog", "http"])
def test_each_socket_asks_for_the_token_in_its_own_words(guarded, door):
    url, is_refusal = doors(guarded)[door]
    for headers in ({}, bearer(WRONG), bearer(SECRET[:-1]), bearer(SECRET + "x"), {"Authorization": SECRET}):
        answer = requests.get(url, headers=headers, timeout=5)
        assert answer.status_code == 401, (headers, answer.text)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert is_refusal(answer.json()), answer.text
        assert SECRET not in answer.text
    assert requests.get(url, headers=bearer(SECRET), timeout=5).status_code == 200
    basic = base64.b64encode(f"anyone:{SECRET}".encode()).decode()
    assert requests.get(url, headers={"Authorization": f"Basic {basic}"}, timeout=5).status_code == 200


def test_what_changes_something_asks_for_it_too(guarded):
    schema = {"schema": '"string"'}
    refused = requests.post(guarded.registry + "/subjects/s/versions", json=schema, timeout=5)
    assert refused.status_code == 401
    refused = requests.post(guarded.catalog + "/v1/namespaces", json={"namespace": ["n"]}, timeout=5)
    assert refused.status_code == 401
    taken = requests.post(guarded.registry + "/subjects/t/versions", json=schema, headers=bearer(SECRET), timeout=5)
    assert taken.status_code == 200
    assert requests.get(guarded.registry + "/subjects", headers=bearer(SECRET), timeout=5).json() == ["t"]


def test_probes_need_no_token_and_metrics_do(guarded):
    http = guarded.ready["http"]
    assert requests.get(http + "/healthz", timeout=5).status_code == 200
    assert requests.get(http + "/metrics", timeout=5).status_code == 401
    assert requests.get(http + "/metrics", headers=bearer(SECRET), timeout=5).status_code == 200


def test_the_catalog_gives_its_token_to_who_knows_the_secret(guarded):
    """OAuth's client credentials, as Iceberg's clients begin."""
    url = guarded.catalog + "/v1/oauth/tokens"
    form = {"grant_type": "client_credentials", "client_id": "anyone", "client_secret": WRONG}
    refused = requests.post(url, data=form, timeout=5)
    assert refused.status_code == 401 and refused.json()["error"] == "invalid_client"
    assert SECRET not in refused.text
    del form["client_secret"]
    assert requests.post(url, data=form, timeout=5).status_code == 401
    form["client_secret"] = SECRET
    given = requests.post(url, data=form, timeout=5).json()
    assert given["token_type"] == "bearer"
    answer = requests.get(guarded.catalog + "/v1/config", headers=bearer(given["access_token"]), timeout=5)
    assert answer.status_code == 200


def test_verbs_send_the_token_that_they_are_given(guarded, folder):
    refused = guarded.run("pipeline", "list")
    assert refused.returncode == 1
    assert "this server asks for a token" in refused.stderr and "--token-file" in refused.stderr
    wrong = folder / "wrong"
    wrong.write_text(WRONG)
    refused = guarded.run("--token-file", wrong, "pipeline", "list")
    assert refused.returncode == 1 and "the token is not this server's" in refused.stderr
    guarded.ok("--token-file", folder / "token", "pipeline", "list")


def up(folder, *arguments):
    """`lakeward up`, which is to refuse; what it says."""
    sockets = [word for name in ("kafka", "registry", "catalog", "http") for word in (f"--{name}", "127.0.0.1:0")]
    command = [BINARY, "up", "--data-dir", str(folder / "data"), *sockets]
    for flag, value in zip(arguments[::2], arguments[1::2]):
        if flag in command:
            command[command.index(flag) + 1] = value
        else:
            command += [flag, value]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done
    return done.stderr


@pytest.mark.parametrize("socket", ["registry", "catalog", "http", "kafka"])
def test_a_socket_beyond_this_machine_without_a_token_is_refused(folder, socket):
    said = up(folder, f"--{socket}", "0.0.0.0:0")
    assert f"--{socket} 0.0.0.0:0 would serve everybody who reaches this machine" in said
    assert "--insecure-no-token" in said
    assert not (folder / "data").exists(), "it refuses before it touches anything"


def test_no_token_opens_kafkas_socket_beyond_this_machine(folder):
    secret = folder / "token"
    secret.write_text(SECRET)
    said = up(folder, "--kafka", "0.0.0.0:0", "--token-file", str(secret))
    assert "--kafka 0.0.0.0:0 would serve everybody" in said and "cannot ask for a token yet" in said


def test_a_token_file_that_holds_none_is_an_error(folder):
    empty = folder / "empty"
    empty.write_text(" \n")
    assert "has no token in it" in up(folder, "--token-file", str(empty))
    assert "cannot read the token" in up(folder, "--token-file", str(folder / "nowhere"))
