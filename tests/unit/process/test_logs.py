import io
import json
import logging

from process.logs import LogFormat, LogLevel, configure_logging
from process.request import request_id

LOG = logging.getLogger("process.test")


def written(form: LogFormat, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level=level, form=form, stream=stream)
    return stream


def test_json_lines_carry_the_call_the_fields_and_utc() -> None:
    stream = written(LogFormat.JSON)
    token = request_id.set("abc")
    LOG.info("volume %s", "v-1", extra={"fields": {"duration_s": 0.5, "path": object}})
    request_id.reset(token)
    entry = json.loads(stream.getvalue())
    assert entry["message"] == "volume v-1"
    assert entry["request_id"] == "abc"
    assert entry["duration_s"] == 0.5
    assert entry["level"] == "info"
    assert entry["logger"] == "process.test"
    assert entry["time"].endswith("Z")
    assert "path" in entry


def test_json_tracebacks_stay_on_one_line() -> None:
    stream = written(LogFormat.JSON)
    try:
        int("two lines")
    except ValueError:
        LOG.exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError" in json.loads(line)["traceback"]


def test_text_lines_quote_what_could_pass_for_something_else() -> None:
    stream = written(LogFormat.TEXT)
    LOG.warning("bad\nname", extra={"fields": {"name": "a b", "empty": "", "n": 1, "f": 0.25, "map": {"k": "v\n"}}})
    (line,) = stream.getvalue().splitlines()
    assert r"WARNING process.test: bad\nname" in line
    assert 'name="a b" empty="" n=1 f=0.25 map={"k": "v\\n"}' in line
    assert "request_id" not in line


def test_text_lines_carry_the_call_and_the_traceback() -> None:
    stream = written(LogFormat.TEXT)
    token = request_id.set("abc")
    try:
        int("seen")
    except ValueError:
        LOG.exception("failed")
    finally:
        request_id.reset(token)
    assert "request_id=abc" in stream.getvalue().splitlines()[0]
    assert stream.getvalue().endswith("'seen'\n")


def test_no_control_character_reaches_a_terminal() -> None:
    stream = written(LogFormat.TEXT)
    LOG.info("\x1b[31mred", extra={"fields": {"v": "\x1b]0;title\x07", "sep": "a\u2028b"}})
    assert all(letter.isprintable() for letter in stream.getvalue().rstrip("\n"))


def test_the_level_holds_and_chatty_libraries_stay_quiet() -> None:
    stream = written(LogFormat.TEXT, LogLevel.DEBUG)
    LOG.debug("seen")
    logging.getLogger("httpx").info("every request")
    assert "seen" in stream.getvalue()
    assert "every request" not in stream.getvalue()
    stream = written(LogFormat.TEXT, LogLevel.ERROR)
    LOG.warning("not seen")
    assert stream.getvalue() == ""
