//! The corpus of the fuzzer, and everything a few bytes can change in it, as an ordinary test.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks.rs"]
mod checks;

/// Calls `check` with every file of a corpus, cut at many places and with bytes changed.
fn run(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        let step = (bytes.len() / 20).max(1);
        for at in (0..bytes.len()).step_by(step) {
            check(&bytes[..at]);
            for byte in [b'"', b'\\', b'{', b'[', b'%', b'\n', 0x00, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = byte;
                check(&changed);
            }
        }
        files += 1;
    }
    assert!(files >= 3, "only {files} files in the corpus {name}");
}

#[test]
fn config() {
    run("config", checks::config);
}

#[test]
fn page() {
    run("page", checks::page);
}

#[test]
fn event() {
    run("event", checks::event);
}
