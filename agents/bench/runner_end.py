"""How a runner process ended: fine, or the outcome and the reason."""

from __future__ import annotations

from pydantic import ValidationError

from agents.bench.decide import died_of_signal, runner_outcome
from agents.run import Conditions, Outcome
from agents.runner.wire import EXIT_STAGE, LINE, End, Failed, Line
from agents.transport import Completed

_DOING = {
    "": "before it said anything",
    "start": "while it loaded the model",
    "loaded": "in the first inference",
    "first": "while it warmed up",
    "warmed-up": "while it ran the model",
}
_STDERR_CHARACTERS = 500


def last_words(stdout: bytes) -> Line | None:
    """The last whole line that a runner wrote, however it ended; None if there is none."""
    for line in reversed(stdout.split(b"\n")[:-1]):
        try:
            return LINE.validate_json(line)
        except ValidationError:
            continue
    return None


def doing(stdout: bytes) -> str:
    """What a runner was doing when it ended, by its last line: `while it warmed up`."""
    last = last_words(stdout)
    kind = "" if last is None else last.kind
    return _DOING.get(kind, f"after it had said `{kind}`")


def verdict_on(
    completed: Completed, *, before: Conditions | None, after: Conditions | None, model_bytes: int
) -> tuple[Outcome, str] | None:
    """Why the runner did not do what it was asked to, or None if it did."""
    if completed.exit_code < 0:
        return died_of_signal(-completed.exit_code, before=before, after=after, model_bytes=model_bytes, last_stage=doing(completed.stdout))
    last = last_words(completed.stdout)
    match last:
        case Failed(stage=stage, message=message):
            return runner_outcome(message), f"the runner failed in stage `{stage}`: {message}"
        case End(reason="sigterm"):
            return Outcome.CRASHED, "something else than Thresher asked the runner to stop (SIGTERM)"
        case End() if completed.exit_code == 0:
            return None
    failed_in = EXIT_STAGE.get(completed.exit_code, "")
    said = completed.stderr[-_STDERR_CHARACTERS:].decode(errors="replace").strip()
    return Outcome.ERROR, (
        f"the runner ended with exit code {completed.exit_code}{f' (stage `{failed_in}`)' if failed_in else ''} {doing(completed.stdout)}"
        + (f": {said}" if said else " and said nothing of it")
    )
