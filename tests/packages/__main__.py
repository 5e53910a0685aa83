"""Runs the scenarios of the packages and prints one line for each; of one that fails also what its machines were told and said.
Ends with 1 if one fails. Never leaves a machine behind."""
import argparse
import pathlib
import shutil
import sys
import time
import traceback

import deb
import repo
import rpm
from machine import CAN_MOUNT


def run(scenario, kit):
    """Whether it went well."""
    started = time.monotonic()
    try:
        scenario(kit)
        print(f"ok      {scenario.__name__.replace('_', ' ')} ({time.monotonic() - started:.1f} s)", flush=True)
        return True
    except Exception:  # noqa: BLE001
        print(f"FAILED  {scenario.__name__.replace('_', ' ')}")
        for machine in kit.machines:
            print("-- machine", *machine.transcript, sep="\n")
        traceback.print_exc(file=sys.stdout)
        return False
    finally:
        for machine in kit.machines:
            machine.forget()
        kit.machines.clear()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--deb", type=pathlib.Path, required=True)
    parser.add_argument("--rpm", type=pathlib.Path, required=True)
    parser.add_argument("--earlier-rpm", type=pathlib.Path, required=True)
    parser.add_argument("--repo", type=pathlib.Path, required=True, help="what scripts/build-repo made")
    parser.add_argument("--chroots", type=pathlib.Path, required=True, help="folder of debian, oldest and rpm")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="for machines; must not be there yet")
    parser.add_argument("words", nargs="*", help="only scenarios whose name has one of these")
    args = parser.parse_args()
    if not CAN_MOUNT:
        print("note: no mount namespaces here: /proc is missing in the chroots, and no scenario has a read-only folder")
    (args.folder / "packages").mkdir(parents=True)
    debs = deb.Kit(args.deb, args.chroots, args.folder)
    rpms = rpm.Kit(args.rpm, args.earlier_rpm, args.chroots, args.folder)
    failed = done = 0
    for module, kit in ((deb, debs), (rpm, rpms), (repo, repo.Kit(args.repo, debs, rpms))):
        print(f"-- {module.__name__}")
        for scenario in module.SCENARIOS:
            if not args.words or any(word in f"{module.__name__}: {scenario.__name__}" for word in args.words):
                done += 1
                failed += not run(scenario, kit)
    shutil.rmtree(args.folder)
    print(f"{done} scenarios, {failed} failed")
    return 1 if failed or not done else 0


sys.exit(main())
