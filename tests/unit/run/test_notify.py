"""Who is told that a run has ended, and that nothing about it can hurt the job."""

from __future__ import annotations

import json
import logging
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import RayjobsError
from rayjobs.command_line.cli import main
from rayjobs.job.job_file import JobFileError, parse_job
from rayjobs.run import notify
from rayjobs.run.notify import EVENTS, event_of, named, targets_of_command_line, tell
from rayjobs.run.settings import SettingsError, Webhook
from tests.places import JOB, Place
from tests.web_hooks import web_hook

EVENT = event_of({"job_id": "look-1", "status": "completed", "done": 3})


def change_rule(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    monkeypatch.setattr(notify, "NOTIFICATION", replace(notify.NOTIFICATION, **values))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYJOBS_HOME", str(tmp_path / "home"))
    change_rule(monkeypatch, first_pause_s=0.01, longest_pause_s=0.01)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write_settings(home: Path, **settings: Any) -> None:
    (home / "settings.yaml").write_text(json.dumps(settings))
    (home / "settings.yaml").chmod(0o600)


@pytest.mark.parametrize("answers", [(), (500, 503), (0, 429), (404, 500, 0)], ids=str)
def test_an_address_gets_the_event_as_json_whatever_it_answers_first(home: Path, answers: tuple[int, ...]) -> None:
    with web_hook(answers=answers) as received:
        write_settings(home, notify={"studio": {"url": received.url, "headers": {"Authorization": "Bearer 1"}}})
        assert tell(["studio", "studio"], EVENT) == []
    assert received.events == [{"event": "job_ended", "job_id": "look-1", "status": "completed", "done": 3}]
    assert len(received.requests) == len(answers) + 1
    path, headers = received.requests[-1]
    assert path == "/hook?key=secret"
    assert headers["Authorization"] == "Bearer 1"
    assert headers["Content-Type"] == "application/json"


def test_one_that_never_takes_it_is_a_warning_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    with web_hook(answers=(500,) * 9) as received:
        (problem,) = tell([], EVENT, also=[Webhook(url=received.url)])
    assert len(received.requests) == 4
    assert problem == "notify: http://127.0.0.1: answered 500; tried 4 times"
    assert problem in caplog.messages
    assert "secret" not in caplog.text


def test_nobody_is_sent_elsewhere() -> None:
    with web_hook() as elsewhere, web_hook(answers=(302,) * 9, headers={"Location": elsewhere.url}) as received:
        (problem,) = tell([], EVENT, also=[Webhook(url=received.url)])
    assert "answered 302" in problem
    assert elsewhere.requests == []


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a server that answers one letter after the other, for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    ended.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_time_is_bounded_and_others_are_told_meanwhile(dripping: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change_rule(monkeypatch, patience_s=0.3, within_s=2.0)
    begun = time.monotonic()
    with web_hook() as received:
        slow = Webhook(url=f"http://127.0.0.1:{dripping}/")
        assert tell([], EVENT, also=[slow, Webhook(url=received.url)])
        assert len(received.events) == 1
    assert time.monotonic() - begun < 20


def test_a_command_gets_the_event_and_no_shell_reads_it(home: Path, tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2] + sys.stdin.read())"
    command = [sys.executable, "-c", code, str(tmp_path / "told"), "$HOME; touch hacked"]
    write_settings(home, notify={"bell": {"command": command}})
    assert tell(["bell"], EVENT) == []
    assert (tmp_path / "told").read_text() == "$HOME; touch hacked" + json.dumps(EVENT)


def test_a_command_is_tried_again_and_ended_when_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_rule(monkeypatch, patience_s=5.0)
    code = f"import pathlib, sys; p = pathlib.Path({str(tmp_path / 'tries')!r}); p.open('a').write('x'); "
    code += "sys.exit(len(p.read_text()) < 3)"
    (fails,) = targets_of_command_line([], [f'{shlex.quote(sys.executable)} -c "{code}"'])
    assert tell([], EVENT, also=[fails]) == []
    assert (tmp_path / "tries").read_text() == "xxx"
    change_rule(monkeypatch, patience_s=0.2)
    (hangs,) = targets_of_command_line([], ["sleep 600"])
    assert tell([], EVENT, also=[hangs]) == ["notify: sleep: took longer than 0.2 s; tried 4 times"]
    (lacks,) = targets_of_command_line([], ["/nowhere/bell"])
    (problem,) = tell([], EVENT, also=[lacks])
    assert "No such file" in problem


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit])
def test_callbacks_and_the_log_are_told_and_may_not_hurt(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    def raises(event: Any) -> None:
        raise kind("oops")

    with caplog.at_level(logging.INFO, EVENTS):
        problems = tell([], EVENT, callbacks=[raises, told.append])
    assert problems == [f"notify: a callback raised {kind.__name__}: oops"]
    assert told == [EVENT]
    assert json.loads(next(record.message for record in caplog.records if record.name == EVENTS)) == EVENT


def test_a_job_file_only_names_whom_the_settings_define(home: Path) -> None:
    job = {"name": "job", "inputs": ["in/"], "output": "out"}
    assert parse_job(json.dumps({**job, "notify": ["studio"]})).notify == ["studio"]
    for other in ("http://evil.example/x", "rm -rf /", "", "../bell", {"url": "http://evil.example"}):
        with pytest.raises(JobFileError, match=r"notify\[0\]"):
            parse_job(json.dumps({**job, "notify": [other]}))
    with pytest.raises(SettingsError, match=r"'studio' isn't defined in .*settings\.yaml"):
        named(["studio"])
    assert tell(["studio"], EVENT) == [
        f"notify: 'studio' isn't defined in {home / 'settings.yaml'}; nobody was told there"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("notify: {studio: {url: 'ftp://x'}}", "notify.studio.url: is no http"),
        ("notify: {studio: {url: 'https://user:word@x/'}}", "passwords go into headers"),
        ("notify: {studio: {url: 'https://x/a b'}}", "is no http"),
        ("notify: {studio: {url: 'https://x', headers: {X: \"a\\nY: b\"}}}", "notify.studio.headers.X: "),
        ("notify: {bell: {command: []}}", "notify.bell.command: "),
        ("notify: {bell: {command: 'rm -rf /'}}", "notify.bell.command: "),
        ("tell: {}", "tell: Extra inputs are not permitted"),
        ("- notify", "Input should be"),
        ("notify: [", "1:"),
    ],
)
def test_settings_are_checked(home: Path, text: str, words: str) -> None:
    (home / "settings.yaml").write_text(text)
    (home / "settings.yaml").chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        named(["studio"])
    assert words in str(caught.value)
    assert str(home / "settings.yaml") in str(caught.value)


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o606])
def test_settings_that_others_may_write_are_not_used(home: Path, mode: int) -> None:
    write_settings(home, notify={"bell": {"command": ["true"]}})
    (home / "settings.yaml").chmod(mode)
    with pytest.raises(SettingsError, match="others may write it"):
        named(["bell"])


@pytest.mark.parametrize("where", ["ftp://x/", "http://", "http://a:b@c/", "https://x:port/"])
def test_a_wrong_address_on_the_command_line_is_told_before_anything_runs(where: str) -> None:
    with pytest.raises(RayjobsError, match="--notify: is no http"):
        targets_of_command_line([where], [])


def test_the_end_of_a_run_is_told_after_it_and_costs_it_nothing(
    place: Place, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = place.base / "job.yaml"
    place.run()
    job.write_text(json.dumps({"name": "quick", "output": "out", **JOB, "notify": ["studio", "lacking"]}))
    with web_hook(answers=(500, 500)) as received:
        write_settings(home, notify={"studio": {"url": received.url}})
        assert main(["run", str(job), "--json", "--notify", "http://127.0.0.1:1/"]) == 0
    printed = capsys.readouterr()
    state = json.loads(printed.out.splitlines()[-1])
    assert received.events == [{"event": "job_ended", **state}]
    assert state["unchanged"] is True
    assert "warning: notify: 'lacking' isn't defined" in printed.err
    assert "warning: notify: http://127.0.0.1: ConnectionRefusedError" in printed.err


def test_a_run_that_can_not_begin_is_told_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    job = place.base / "job.yaml"
    job.write_text(json.dumps({"name": "quick", "output": "out", "inputs": ["nowhere/"]}))
    with web_hook() as received:
        assert main(["run", str(job), "--notify", received.url]) == 1
    (event,) = received.events
    assert event["status"] == "failed"
    assert "nowhere" in event["error"]
    assert event["error"] in capsys.readouterr().err
