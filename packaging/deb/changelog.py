#!/usr/bin/env python3
"""Writes CHANGELOG.md's newest version, with what is unreleased, in Debian's format to stdout: changelog.py MAINTAINER SECONDS (of the commit)."""
import email.utils
import pathlib
import sys
import textwrap


def main(maintainer, seconds):
    text = pathlib.Path("CHANGELOG.md").read_text(encoding="utf-8").replace("\n## Unreleased\n", "\n", 1)
    unreleased, section = text.split("\n## ")[:2]
    heading, _, body = section.partition("\n")
    body = "".join(unreleased.partition("\n- ")[1:]) + "\n" + body
    items = [" ".join(item.split()) for item in ("\n" + body).split("\n- ")[1:]]
    print(f"wazuh-akamai ({heading.split()[0]}-1) unstable; urgency=medium\n")
    for item in items:
        print(textwrap.fill(item.replace("`", ""), 78, initial_indent="  * ", subsequent_indent="    "))
    print(f"\n -- {maintainer}  {email.utils.formatdate(int(seconds))}")


main(*sys.argv[1:])
