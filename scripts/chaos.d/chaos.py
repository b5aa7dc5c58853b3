"""The runs of scripts/chaos, once everything is there."""

import argparse
import collections
import contextlib
import dataclasses
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

import lab
import scenario
import trial

VIOLATION = "VIOLATION"


def main(stack):
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Migrates a guest that verifies its memory again and again, while something goes wrong at a moment"
                    " that the seed\nchooses, and looks at what has become of it each time.",
        epilog="Exit code 0: nothing happened that must not. The logs of a run where it did are kept, and named.")
    parser.add_argument("--seed", default="1", help="of faults and moments (default: 1)")
    parser.add_argument("--runs", type=int, default=10, help="how many migrations (default: 10)")
    parser.add_argument("--first", type=int, default=1, metavar="RUN", help="the number of the first (default: 1)")
    parser.add_argument("--only", type=int, metavar="RUN", help="this one alone; its logs are kept in any case")
    parser.add_argument("--qemu", default="10.0", help="which QEMU, as scripts/fetch names them (default: 10.0)")
    options = parser.parse_args()

    folder = lab.temporary_folder(stack, "chaos-")
    kept = pathlib.Path(f"/tmp/chaos-{options.seed}")
    template = trial.Template(stack, folder, lab.ROOT / "target/qemu" / options.qemu / "qemu-system-x86_64")
    runs = [options.only] if options.only is not None else range(
        options.first, options.first + options.runs)
    outcomes = collections.Counter()
    faults = collections.Counter()
    violations = []
    start = time.monotonic()
    for run in runs:
        chosen = scenario.choose(options.seed, run)
        began = time.monotonic()
        result = one(template, folder, f"{folder.name}-{run}", chosen, kept / str(run), options.only is not None)
        seconds = time.monotonic() - began
        story = ", then ".join(map(str, result.struck)) or "nothing"
        unreached = "".join(f" [not reached: {blow}]" for blow in result.unreached)
        print(f"{run:>4}  {result.outcome:<11}  {seconds:5.1f} s  {story}{unreached}", flush=True)
        if result.violation:
            violations.append(run)
            print(f"      {result.violation}\n      logs: {kept / str(run)}", flush=True)
        outcomes[result.outcome] += 1
        for kind in {fault.kind for blow in result.struck for fault in blow.faults} or {"nothing"}:
            faults[kind, result.outcome] += 1
    show_summary(options.seed, outcomes, faults, violations, time.monotonic() - start)
    return 1 if violations else 0


@dataclasses.dataclass
class Result:
    outcome: str
    violation: str
    struck: list
    unreached: list


def one(template, parent, name, chosen, kept, keep):
    folder = parent / name
    folder.mkdir()
    violation = ""
    try:
        with contextlib.ExitStack() as stack:
            attempt = trial.Trial(stack, template, folder, chosen)
            try:
                outcome = attempt.run()
            except trial.Violation as caught:
                outcome = VIOLATION
                violation = str(caught)
        if keep or violation:
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("*.qmp", "*.monitor", "*.serial", "*.control"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Result(outcome, violation, attempt.struck, attempt.blows)


def show_summary(seed, outcomes, faults, violations, seconds):
    runs = sum(outcomes.values())
    print(f"\nseed {seed}: {runs} runs in {seconds:.0f} s ({seconds / runs:.1f} s each)")
    columns = ["source", "destination", "lost", VIOLATION]
    print(f"  {'':<24}" + "".join(f"{column:>13}" for column in columns))
    for kind in sorted({kind for kind, _ in faults}):
        print(f"  {kind:<24}" + "".join(f"{faults[kind, column]:>13}" for column in columns))
    print(f"  {'all runs':<24}" + "".join(f"{outcomes[column]:>13}" for column in columns))
    if violations:
        print(f"again, one alone: scripts/chaos --seed {seed} --only {violations[0]}")


if __name__ == "__main__":
    lab.run_main(main)
