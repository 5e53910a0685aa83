"""Runs the scenarios of the packages: packages DEB RPM EARLIER-RPM CHROOTS FOLDER [WORD...]. CHROOTS holds the chroots debian,
oldest and rpm; FOLDER must not be there yet. WORDs choose scenarios by their names. Ends with 1 if one fails, with its transcript."""
import pathlib
import shutil
import sys
import time
import traceback

import deb
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


def main(ours_deb, ours_rpm, earlier_rpm, chroots, folder, *words):
    chroots, folder = pathlib.Path(chroots), pathlib.Path(folder)
    if not CAN_MOUNT:
        print("note: no mount namespaces here: /proc is missing in the chroots, and no scenario has a read-only folder")
    (folder / "packages").mkdir(parents=True)
    failed = done = 0
    kits = ((deb, deb.Kit(ours_deb, chroots, folder)), (rpm, rpm.Kit(ours_rpm, earlier_rpm, chroots, folder)))
    for module, kit in kits:
        print(f"-- {module.__name__}")
        for scenario in module.SCENARIOS:
            if not words or any(word in f"{module.__name__}: {scenario.__name__}" for word in words):
                done += 1
                failed += not run(scenario, kit)
    shutil.rmtree(folder)
    print(f"{done} scenarios, {failed} failed")
    return 1 if failed or not done else 0


sys.exit(main(*sys.argv[1:]))
