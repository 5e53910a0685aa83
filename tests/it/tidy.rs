//! Rules about the project itself: what a module may use, what documentation must say.

use std::fs;
use std::path::{Path, PathBuf};

use wazuh_akamai::config::KEYS;
use wazuh_akamai::exit::EXIT_CODES;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file before its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// Modules that never touch the world: the compiler sees to it where they say so (clippy.toml).
const PURE: [&str; 16] = [
    "akamai/edgegrid.rs",
    "akamai/page.rs",
    "akamai/problem.rs",
    "akamai/query.rs",
    "akamai/retry.rs",
    "collector/budget.rs",
    "config/edit.rs",
    "config/ini.rs",
    "config/keys.rs",
    "config/source.rs",
    "config/values.rs",
    "event/mod.rs",
    "wazuh/analysisd/barrier.rs",
    "wazuh/analysisd/pace.rs",
    "wazuh/analysisd/stats.rs",
    "wazuh/conf/mod.rs",
];

#[test]
fn pure_modules_never_touch_the_world() {
    let denies = "#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]";
    for file in PURE {
        let path = root().join("src").join(file);
        assert!(fs::read_to_string(&path).unwrap().contains(denies), "{file}");
        // A `mod.rs` speaks for its whole folder.
        let files = if file.ends_with("mod.rs") { rust_files(path.parent().unwrap()) } else { vec![path] };
        for path in files {
            let mut words = vec!["ureq", "crate::akamai::transport", "crate::commands", "allow(clippy::disallowed"];
            words.extend(Some("crate::config").filter(|_| !file.starts_with("config/")));
            for word in words {
                assert!(!code(&path).contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_first_what_it_does() {
    for path in rust_files(&root().join("src")).iter().chain(&rust_files(&root().join("tests"))) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
        assert!(text.lines().count() <= 500, "{} asks for a split", path.display());
    }
}

#[test]
fn the_readme_lists_every_key_and_exit_code() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for key in KEYS {
        assert!(readme.contains(&format!("`{}`", key.name)), "README.md does not name {}", key.name);
    }
    for line in EXIT_CODES.lines().filter(|line| line.starts_with("  ")) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "README.md does not list: {line}");
    }
}

#[test]
fn the_changelog_begins_with_what_is_new_and_this_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let mut sections = changelog.lines().filter(|line| line.starts_with("## ") && *line != "## Unreleased");
    let first = sections.next().unwrap();
    assert!(first.starts_with(concat!("## ", env!("CARGO_PKG_VERSION"))), "{first}");
}

#[test]
fn no_type_name_stands_twice() {
    let mut names = Vec::new();
    for path in rust_files(&root().join("src")) {
        for line in code(&path).lines() {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).skip_while(|word| {
                word.is_empty() || word.starts_with("pub") || ["super", "crate", "in"].contains(word)
            });
            if ["struct", "enum", "type", "trait"].contains(&words.next().unwrap_or_default()) {
                let name = words.next().unwrap_or_default();
                // Types that a trait asks for.
                let is_asked_for =
                    line.starts_with(' ') && ["Err", "Error", "Item", "Output", "Target"].contains(&name);
                if name.starts_with(char::is_uppercase) && !is_asked_for {
                    names.push(name.to_owned());
                }
            }
        }
    }
    names.sort_unstable();
    assert!(names.len() > 100, "{}", names.len());
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].as_str()).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
