"""Measures the exported model on what it has never seen, with the app's own engine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chat_ui.models.quantization import Precision
from tools.pocket_guide.chatter import Chatter
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.exams import Task, make_tasks
from tools.pocket_guide.styles import Style

# A model that is rounded is asked these alone.
_ROUNDED_SUITES = ("topics", "off topic", "memory", "styles")
_ROUNDED: tuple[Precision, ...] = ("8bit", "4bit")
_WARM = 0.7


@dataclass(frozen=True)
class Answered:
    """A task and what the model made of it.

    Attributes:
        task: The task.
        answer: The text of the answer.
        ended: Whether the model ended the answer by itself.
        styled: Whether the answer has the task's style; without one, whether it has none.
    """

    task: Task
    answer: str
    ended: bool
    styled: bool

    @property
    def right(self) -> bool:
        """Whether the content is right."""
        return self.task.is_right(self.answer)


def _ask(
    chatter: Chatter, tasks: Sequence[Task], styles: Iterable[Style], temperature: float = 0.0
) -> list[Answered]:
    answers = chatter.answer([task.chat for task in tasks], temperature)
    in_words = [style for style in styles if any(any(pair) for pair in style.around)]
    found = []
    for task, (text, ended) in zip(tasks, answers, strict=True):
        styled = (
            task.style.is_kept(text)
            if task.style
            else not any(style.is_kept(text) for style in in_words)
        )
        found.append(Answered(task, text, ended, styled))
    return found


def _share(values: Iterable[bool]) -> float:
    counted = list(values)
    return round(sum(counted) / len(counted), 4)


def _score(answered: Sequence[Answered]) -> dict[str, Any]:
    """Sums up each suite: how many tasks, and the shares of right, styled and ended answers."""
    report: dict[str, Any] = {}
    for name in dict.fromkeys(each.task.suite for each in answered):
        suite = [each for each in answered if each.task.suite == name]
        report[name] = {
            "tasks": len(suite),
            "right": _share(each.right for each in suite),
            "ended": _share(each.ended for each in suite),
        }
        if name in ("styles", "plain system message"):
            report[name]["styled"] = _share(each.styled for each in suite)
        if name == "styles":
            report[name]["by style"] = {
                style: {
                    "right": _share(each.right for each in suite if _style(each) == style),
                    "styled": _share(each.styled for each in suite if _style(each) == style),
                }
                for style in dict.fromkeys(map(_style, suite))
            }
    report["all"] = {"tasks": len(answered), "ended": _share(each.ended for each in answered)}
    return report


def _style(answered: Answered) -> str:
    return answered.task.style.id if answered.task.style else ""


def _print(title: str, report: dict[str, Any], full: dict[str, Any] | None = None) -> None:
    print(f"\n{title:28}{'tasks':>7}{'right':>9}{'styled':>9}{'ended':>9}{'fall':>8}")
    for name, row in report.items():
        cells = "".join(
            f"{row[key]:9.1%}" if key in row else " " * 9 for key in ("right", "styled", "ended")
        )
        fall = (
            f"{100 * (full[name]['right'] - row['right']):8.1f}" if full and "right" in row else ""
        )
        print(f"{name:28}{row['tasks']:7}{cells}{fall}", flush=True)
        for style, part in row.get("by style", {}).items():
            print(f"  {style:33}{part['right']:9.1%}{part['styled']:9.1%}")


def _print_wrong(answered: Sequence[Answered]) -> None:
    for each in answered:
        if not (each.right and each.ended and (each.styled or not each.task.style)):
            asked = each.task.chat[-1][1]
            print(f"  {each.task.suite} [{each.task.name}] {asked!r} -> {each.answer[:110]!r}")


def evaluate(
    corpus: Corpus, folder: Path, seed: int, show_wrong: bool, is_quick: bool
) -> dict[str, Any]:
    """Asks everything, and prints a table.

    Args:
        corpus: Has what is held out.
        folder: Where the exported model is.
        seed: Decides which of the held-out questions are asked.
        show_wrong: Whether to print each wrong answer.
        is_quick: Leaves out temperature, precisions and variants of the questions.

    Returns:
        The scores by precision and suite as shares of one, and the speed.
    """
    tasks, styles = make_tasks(corpus, seed), corpus.material.styles
    if is_quick:
        tasks = [task for task in tasks if not task.suite.startswith("topics, ")]
    chatter = Chatter(folder)
    answered = _ask(chatter, tasks, styles)
    report: dict[str, Any] = {"full": _score(answered)}
    _print("full", report["full"])
    if show_wrong:
        _print_wrong(answered)
    asked = [task for task in tasks if task.suite in _ROUNDED_SUITES]
    if not is_quick:
        report["temperature 0.7"] = _score(_ask(chatter, asked, styles, _WARM))
        _print("full, temperature 0.7", report["temperature 0.7"])
    speed = chatter.speed([task.chat for task in tasks[:40]])
    report["speed"] = {
        "first token in ms": round(1000 * speed.first_token_s, 1),
        "tokens per second": round(speed.tokens_per_s),
    }
    print(f"\nfirst token {1000 * speed.first_token_s:.1f} ms, {speed.tokens_per_s:.0f} tokens/s")
    chatter.close()
    for precision in () if is_quick else _ROUNDED:
        chatter = Chatter(folder, precision)
        report[precision] = _score(_ask(chatter, asked, styles))
        _print(precision, report[precision], report["full"])
        chatter.close()
    return report
