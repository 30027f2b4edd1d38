"""Builds and evaluates Pocket Guide: `python -m tools.pocket_guide`."""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from tools.pocket_guide import ASSET_DIR, PARAMETERS
from tools.pocket_guide.corpus import Corpus
from tools.pocket_guide.evaluate import evaluate
from tools.pocket_guide.export import export, parameters_in_words
from tools.pocket_guide.material import load
from tools.pocket_guide.tokenizer import train_tokenizer
from tools.pocket_guide.train import Budget, train


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.pocket_guide", description=__doc__)
    parser.add_argument("--steps", type=int, default=10500, help="optimizer steps")
    parser.add_argument("--minutes", type=float, default=0.0, help="end training after so long")
    parser.add_argument("--export-every", type=int, default=0, help="steps between early exports")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ASSET_DIR, help="folder for the model")
    parser.add_argument("--report", type=Path, help="write the evaluation to this JSON file")
    parser.add_argument("--evaluate-only", action="store_true", help="use the model in --out")
    parser.add_argument("--quick", action="store_true", help="evaluate less")
    parser.add_argument("--show-wrong", action="store_true", help="print what went wrong")
    return parser.parse_args()


def main() -> None:
    """Runs every step from the authored material to the evaluation."""
    options = _arguments()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory only matters for code that reads what it never wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    corpus = Corpus(load(PARAMETERS), options.seed)
    if not options.evaluate_only:
        start = time.monotonic()
        tokenizer = train_tokenizer(corpus.plain_texts())
        budget = Budget(options.steps, options.minutes)

        def watch(step: int, model: LlamaForCausalLM) -> None:
            if options.export_every and step % options.export_every == 0:
                export(model, tokenizer, options.out)

        model = train(corpus, tokenizer, options.seed, budget, options.threads, watch)
        if parameters_in_words(model) != PARAMETERS:
            raise SystemExit(f"The model has {parameters_in_words(model)} parameters.")
        export(model, tokenizer, options.out)
        print(f"built in {(time.monotonic() - start) / 60:.1f} minutes")
    report = evaluate(corpus, options.out, options.seed, options.show_wrong, options.quick)
    if options.report:
        options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
