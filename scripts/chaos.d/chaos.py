"""The runs of scripts/chaos, once everything is there."""

import argparse
import collections
import contextlib
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import lab
import scenario
import trial


def main(stack):
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", type=int, metavar="RUN")
    parser.add_argument("--qemu", default="10.0")
    options = parser.parse_args()

    folder = lab.temporary_folder(stack, "postcopy-chaos-")
    kept = pathlib.Path(f"/tmp/chaos-{options.seed}")
    template = trial.Template(stack, folder, lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64")
    runs = [options.only] if options.only is not None else range(1, options.runs + 1)
    outcomes = collections.Counter()
    faults = collections.Counter()
    violations = []
    start = time.monotonic()
    for run in runs:
        chosen = scenario.choose(options.seed, run)
        began = time.monotonic()
        outcome, reason = one(template, folder, f"{folder.name}-{run}", chosen, kept / str(run), options.only is not None)
        seconds = time.monotonic() - began
        print(f"{run:>4}  {outcome:<11}  {seconds:5.1f} s  {chosen}", flush=True)
        if reason:
            violations.append(run)
            print(f"      VIOLATION: {reason}\n      logs: {kept / str(run)}", flush=True)
        outcomes[outcome] += 1
        for blow in chosen.blows:
            for fault in blow.faults:
                faults[fault.kind, outcome] += 1
    show_summary(options.seed, outcomes, faults, violations, time.monotonic() - start)
    return 1 if violations else 0


def one(template, parent, name, chosen, kept, keep_always):
    folder = parent / name
    folder.mkdir()
    attempt = None
    try:
        with contextlib.ExitStack() as stack:
            attempt = trial.Trial(stack, template, folder, chosen)
            return attempt.run(), ""
    except trial.Violation as violation:
        keep_always = True
        return "VIOLATION", str(violation)
    finally:
        if keep_always:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=lambda _, names: [n for n in names if n.endswith((".qmp", ".monitor", ".serial"))])
        shutil.rmtree(folder, ignore_errors=True)


def show_summary(seed, outcomes, faults, violations, seconds):
    runs = sum(outcomes.values())
    print(f"\nseed {seed}: {runs} runs in {seconds:.0f} s ({seconds / runs:.1f} s each)")
    columns = ["source", "destination", "lost", "VIOLATION"]
    print(f"  {'':<24}" + "".join(f"{column:>13}" for column in columns))
    for kind in sorted({kind for kind, _ in faults}):
        print(f"  {kind:<24}" + "".join(f"{faults[kind, column]:>13}" for column in columns))
    print(f"  {'runs':<24}" + "".join(f"{outcomes[column]:>13}" for column in columns))
    if violations:
        print(f"again, one alone: scripts/chaos --seed {seed} --only {violations[0]}")


if __name__ == "__main__":
    lab.run_main(main)
