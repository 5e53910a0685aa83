#!/usr/bin/env python3
"""Writes CHANGELOG.md's newest section in Debian's format to stdout: changelog.py MAINTAINER SECONDS (of the commit)."""
import email.utils
import pathlib
import sys
import textwrap


def main(maintainer, seconds):
    section = pathlib.Path("CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    heading, _, body = section.partition("\n")
    items = [" ".join(item.split()) for item in ("\n" + body).split("\n- ")[1:]]
    print(f"wazuh-akamai ({heading.split()[0]}-1) unstable; urgency=medium\n")
    for item in items:
        print(textwrap.fill(item.replace("`", ""), 78, initial_indent="  * ", subsequent_indent="    "))
    print(f"\n -- {maintainer}  {email.utils.formatdate(int(seconds))}")


main(*sys.argv[1:])
