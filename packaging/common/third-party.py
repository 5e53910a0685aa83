#!/usr/bin/env python3
"""Writes what the program is made of: third-party-licences.txt and wazuh-akamai.cdx.json (CycloneDX 1.5), for one target.

third-party.py TARGET FOLDER. Reads what cargo knows of this commit; the same commit and compiler give the same bytes. Never
guesses: a crate without a licence ends the build.
"""
import json
import os
import pathlib
import subprocess
import sys

# Files of a crate that hold its licence or notices, whatever their case and extension.
LICENCE_NAMES = ("license", "licence", "copying", "copyright", "notice", "unlicense")


# Crates of the standard library that are linked along with it.
STD_CRATES = ("addr2line", "adler2", "gimli", "hashbrown", "memchr", "miniz_oxide", "object", "rustc-demangle")

# The library that unwinds the stack comes with the linker.
UNWINDER = "LLVM libunwind"
UNWINDER_LICENCE = "Apache-2.0 WITH LLVM-exception"


def std_texts(rustc):
    """Texts of the standard library and its crates: rustup's, or Debian's; the build ends where neither is there."""
    sysroot = subprocess.run([rustc, "--print", "sysroot"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    doc = pathlib.Path(sysroot, "share/doc/rust")
    found = [doc / "licenses/MIT.txt", doc / "licenses/Apache-2.0.txt", doc / "COPYRIGHT-library.html"]
    found = [file for file in found if file.is_file()]
    if not found:
        found = [file for file in sorted(pathlib.Path("/usr/share/doc").glob("libstd-rust*/copyright")) if file.is_file()][:1]
    if not found:
        sys.exit(f"third-party.py: no licences of the standard library in {doc} or /usr/share/doc/libstd-rust*")
    return [file.read_text(encoding="utf-8", errors="replace").strip() for file in found]


def unwinder_text():
    """It lies beside the linker that scripts/build-packages installs."""
    file = next(pathlib.Path("target/tools/venv/lib").glob("python3*/site-packages/ziglang/lib/libunwind/LICENSE.TXT"), None)
    if not file:
        sys.exit("third-party.py: no licence of libunwind below target/tools/venv")
    return file.read_text(encoding="utf-8", errors="replace").strip()


def cargo(*args):
    return subprocess.run(["cargo", *args, "--locked"], check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(target):
    """Names and versions of the crates whose code is in the program: no tools of the build or the tests, no macros."""
    lines = cargo("tree", "--target", target, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    return {tuple(line.split()[:2]) for line in lines.splitlines()}


def licence_texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name.lower().startswith(LICENCE_NAMES)]
    return [(file.name, file.read_text(encoding="utf-8", errors="replace").strip()) for file in files]


def write_licences(packages, rustc, file):
    """Each text once, with the crates that it belongs to."""
    holders = {}
    lines = [
        "wazuh-akamai is under the MIT licence. These are the works of others that its program contains.\n",
        f"The Rust standard library ({rustc}), with {', '.join(STD_CRATES)}: MIT OR Apache-2.0",
        f"{UNWINDER}: {UNWINDER_LICENCE}",
    ]
    for text in std_texts(os.environ.get("RUSTC", "rustc")):
        holders.setdefault(text, []).append("The Rust standard library")
    holders.setdefault(unwinder_text(), []).append(UNWINDER)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}")
        texts = licence_texts(package)
        if not texts:
            lines[-1] += " (its package holds no text of the licence; see the same licence of others below)"
        for _, text in texts:
            holders.setdefault(text, []).append(name)
    for text, names in holders.items():
        lines.append(f"\n{'=' * 100}\n{', '.join(names)}:\n\n{text}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def component(package):
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "licenses": [{"expression": package["license"].replace("/", " OR ")}],
        "purl": purl,
    }


def write_bill(root, packages, checksums, edges, rustc, file):
    own = {**component(root), "type": "application"}
    std = {
        "type": "library", "bom-ref": "rust-std", "name": "std", "version": rustc.split()[1],
        "licenses": [{"expression": "MIT OR Apache-2.0"}], "description": f"The Rust standard library of {rustc}",
    }
    within = [
        {
            "type": "library", "bom-ref": f"rust-std/{name}", "name": name,
            "licenses": [{"expression": "MIT OR Apache-2.0"}], "description": f"Linked with the standard library of {rustc}",
        }
        for name in STD_CRATES
    ]
    unwinder = {
        "type": "library", "bom-ref": "llvm-libunwind", "name": "libunwind",
        "licenses": [{"expression": UNWINDER_LICENCE}], "description": f"{UNWINDER}, linked statically",
    }
    components = [std, *within, unwinder]
    for package in packages:
        found = checksums.get((package["name"], package["version"]))
        components.append(component(package) | ({"hashes": [{"alg": "SHA-256", "content": found}]} if found else {}))
    dependencies = [{"ref": ref, "dependsOn": sorted(to)} for ref, to in sorted(edges.items())]
    bill = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": own}, "components": components, "dependencies": dependencies,
    }
    file.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")


def lock_checksums():
    """Cargo.lock's checksums; its format is plain enough to be read without a TOML parser, which old Pythons lack."""
    checksums, entry = {}, {}
    for line in pathlib.Path("Cargo.lock").read_text(encoding="utf-8").splitlines():
        if line == "[[package]]":
            entry = {}
        elif " = \"" in line:
            key, value = line.split(" = ", 1)
            entry[key] = value.strip('"')
            if key == "checksum":
                checksums[entry["name"], entry["version"]] = entry["checksum"]
    return checksums


def main(target, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = linked(target)
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", target))
    found = [package for package in metadata["packages"] if (package["name"], f"v{package['version']}") in wanted]
    found.sort(key=lambda package: (package["name"], package["version"]))
    assert len(found) == len(wanted), "cargo's tree and its metadata differ"
    without = [package["name"] for package in found if not package["license"]]
    assert not without, f"without a licence: {without}"
    root = next(package for package in found if package["id"] == metadata["resolve"]["root"])
    refs = {package["id"]: component(package)["bom-ref"] for package in found}
    edges = {
        refs[node["id"]]: {
            refs[dependency["pkg"]]
            for dependency in node["deps"]
            if dependency["pkg"] in refs and any(kind["kind"] is None for kind in dependency["dep_kinds"])
        }
        for node in metadata["resolve"]["nodes"]
        if node["id"] in refs
    }
    packages = [package for package in found if package is not root]
    rustc = subprocess.run([os.environ.get("RUSTC", "rustc"), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    write_licences(packages, rustc, folder / "third-party-licences.txt")
    write_bill(root, packages, lock_checksums(), edges, rustc, folder / "wazuh-akamai.cdx.json")


main(*sys.argv[1:])
