//! What is found on the disk: damaged lines, segments that cannot be read, state of other versions, traps.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wazuh_akamai::state::key;

use super::recovery::rewrite;
use super::site::{Site, notices, numbers};
use crate::loopback::now;
use crate::program::{Ended, finish};

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// A site with pages of so many lines in its spool: nobody took them.
fn site_with_pages(pages: &[u64]) -> (Site, Vec<PathBuf>) {
    let site = Site::new();
    site.collect().expect(0);
    let mut stored = 0;
    for lines in pages {
        site.store(60, stored..stored + lines);
        stored += lines;
        let mut child =
            site.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success(), "{}", site.log());
    }
    let files = site.state_files("spool-");
    assert_eq!(files.len(), pages.len());
    (site, files)
}

/// Runs `collect` while every such call on this file fails.
fn collect_while(site: &Site, file: &Path, inject: &str) -> Ended {
    let collect = site.command();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(file).arg("-e").arg(format!("inject={inject}"));
    command.arg(collect.get_program()).args(collect.get_args()).env("NO_PROXY", "*");
    finish(command, b"")
}

fn backfill(site: &Site) -> Ended {
    site.place.run(&["backfill", "--from", &(now() - 2_500).to_string()])
}

fn lost(ended: &Ended) -> usize {
    notices(&ended.events()).iter().filter(|event| *event == "data_gap").count()
}

#[test]
fn lines_that_are_damaged_are_set_aside_and_told_and_never_handed_over() {
    let (site, pages) = site_with_pages(&[10, 10]);
    let whole = fs::read_to_string(&pages[0]).unwrap();
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    // Line 0 is the header. One letter, half a line, an empty line, and one that was never written so.
    lines[3] = lines[3].replacen("akamai_siem", "akamai_siim", 1);
    lines[5].truncate(200);
    lines.insert(7, String::new());
    lines.insert(8, r#"{"type":"akamai_siem","forged":true}"#.into());
    fs::write(&pages[0], lines.join("\n") + "\n").unwrap();
    let ended = site.collect().expect(0);
    assert_eq!(numbers(&ended.events()), [0, 1, 3, 5, 6, 7, 8, 9].into_iter().chain(10..20).collect::<Vec<u64>>());
    assert!(lost(&ended) == 1 && !ended.text().contains("forged"), "{:?}", notices(&ended.events()));
    let kept = site.state_files("corrupt-");
    let text = fs::read_to_string(&kept[0]).unwrap();
    assert!(kept.len() == 1 && text.contains("akamai_siim") && text.contains("forged"));
    assert!(site.place.run(&["status"]).expect(1).text().contains("were lost"));
    assert!(site.collect().expect(0).stdout.is_empty());
}

#[test]
fn a_backfill_brings_back_what_was_lost_on_the_disk() {
    for damage in ["akamai_siim", ""] {
        let (site, pages) = site_with_pages(&[10]);
        backfill(&site).fails(0, "0 events from");
        if damage.is_empty() {
            // Not even whose lines they are can be read.
            collect_while(&site, &pages[0], "openat:error=EIO").expect(0);
        } else {
            let text = fs::read_to_string(&pages[0]).unwrap();
            fs::write(&pages[0], text.replace("akamai_siem", damage)).unwrap();
            assert_eq!(lost(&site.collect().expect(0)), 1);
        }
        backfill(&site).fails(0, "10 events from");
        assert_eq!(numbers(&site.collect().expect(0).events()), all(0..10), "{damage}");
        // The cursor goes on, and what comes now is known again.
        site.store(20, 10..15);
        assert_eq!(numbers(&site.collect().expect(0).events()), all(10..15), "{}", site.log());
        backfill(&site).fails(0, "0 events from");
    }
}

#[test]
fn a_segment_without_its_end_is_told() {
    let (site, pages) = site_with_pages(&[10]);
    let whole = fs::read_to_string(&pages[0]).unwrap();
    let end = whole.match_indices('\n').nth(6).unwrap().0 + 1;
    fs::write(&pages[0], &whole[..end]).unwrap();
    let ended = site.collect().expect(0);
    assert_eq!((numbers(&ended.events()), lost(&ended)), (all(0..6), 1));
}

#[test]
fn a_segment_that_cannot_be_read_is_set_aside_and_told_and_holds_nothing_up() {
    for inject in ["openat:error=EIO", "read:error=EIO:when=4+"] {
        let (site, pages) = site_with_pages(&[200, 10]);
        site.store(20, 210..215);
        let ended = collect_while(&site, &pages[0], inject).expect(0);
        let got = numbers(&ended.events());
        assert!(got.ends_with(&all(200..215)) && got.len() < 215, "{inject}: {got:?}");
        assert_eq!(lost(&ended), 1, "{inject}");
        let kept = site.state_files("corrupt-");
        assert!(kept.len() == 1 && !pages[0].exists(), "{inject}");
        assert_eq!(fs::read_to_string(&kept[0]).unwrap().lines().count(), 202, "{inject}");
        assert!(site.collect().expect(0).stdout.is_empty());
    }
    // What fails once is no reason.
    for inject in ["openat:error=EIO:when=2", "read:error=EIO:when=4"] {
        let (site, pages) = site_with_pages(&[200]);
        let ended = collect_while(&site, &pages[0], inject).expect(0);
        assert_eq!((numbers(&ended.events()), lost(&ended)), (all(0..200), 0), "{inject}");
    }
}

#[test]
fn state_of_a_newer_version_is_refused_and_left_alone() {
    for kind in ["cursor-", "health-", "delivery", "spool-"] {
        let (site, pages) = site_with_pages(&[5]);
        site.store(20, 5..8);
        let file = site.state_files(kind).pop().unwrap();
        if kind == "spool-" {
            let header = "={\"version\":2,\"owner\":\"a\"}";
            let text = fs::read_to_string(&pages[0]).unwrap();
            let (_, rest) = text.split_once('\n').unwrap();
            fs::write(&pages[0], format!("{:08x}{header}\n{rest}", crc32fast::hash(header.as_bytes()))).unwrap();
        } else {
            rewrite(&file, |record| record["version"] = 2.into());
        }
        let before = fs::read(if kind == "spool-" { &pages[0] } else { &file }).unwrap();
        let ended = site.collect().expect(1);
        assert_eq!(fs::read(if kind == "spool-" { &pages[0] } else { &file }).unwrap(), before, "{kind}");
        assert!(site.log().contains("a newer wazuh-akamai wrote it (format 2"), "{kind}: {}", site.log());
        assert!(notices(&ended.events()).contains(&"backlog".to_owned()), "{kind}");
        assert!(site.state_files("corrupt-").is_empty() && numbers(&ended.events()).iter().all(|number| *number < 5));
        let check = site.place.run(&["check"]);
        assert!(check.text().contains("format 2"), "{kind}: {}", check.text());
    }
}

#[test]
fn nothing_in_the_state_folder_makes_anybody_wait() {
    let (site, pages) = site_with_pages(&[5]);
    let mut places: Vec<PathBuf> =
        ["cursor-", "health-", "delivery"].iter().map(|kind| site.state_files(kind)[0].clone()).collect();
    places.extend([pages[0].clone(), site.state().join("spool-000000000099-1.events")]);
    for path in places {
        let before = fs::read(&path);
        for trap in ["pipe", "link", "huge"] {
            let _ = fs::remove_file(&path);
            match trap {
                "pipe" => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap(),
                "link" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => fs::File::create(&path).unwrap().set_len(1 << 42).unwrap(),
            }
            // Whether they find something wrong is not the point; that they end is.
            for command in [&["status"][..], &["check", "--offline"]] {
                let ended = site.place.run(command);
                assert!([0, 1].contains(&ended.code), "{trap} at {}: {}", path.display(), ended.stderr);
            }
        }
        fs::remove_file(&path).unwrap();
        before.map(|bytes| fs::write(&path, bytes).unwrap()).unwrap_or_default();
    }
    assert_eq!(numbers(&site.collect().expect(0).events()), all(0..5));
}

/// The lines whose state the old version left in tests/data/state-0.1.0: five of the first eight delivered, three more
/// sealed when it was killed.
fn old_line(number: u64) -> String {
    format!(
        "{{\"attackData\":{{\"clientIP\":\"192.0.2.9\",\"appliedAction\":\"deny\"}},\"httpMessage\":{{\"start\":\"1795560000\",\"requestId\":\"{number:x}.a\",\"host\":\"a.example\"}}}}"
    )
}

/// Puts the state of 0.1.0 there, as if it had asked this Akamai.
fn put_old_state(site: &Site) {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-0.1.0");
    let old_key = "default-000698ea33cf";
    let new_key = key("default", &[site.akamai.url().trim_start_matches("http://"), "14227"]);
    let old_offset = "78;OHwxNzk1NTYwMDUyfDF8MTQyMjc";
    let new_offset = format!("78;{}", URL_SAFE_NO_PAD.encode(format!("8|{}|1|14227", now())));
    fs::create_dir(site.state()).unwrap();
    for entry in fs::read_dir(old).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().replace(old_key, &new_key);
        let mut bytes = fs::read(&path).unwrap();
        if name == "README.md" {
            continue;
        }
        if name.ends_with("3-3.events") {
            bytes =
                String::from_utf8(bytes).unwrap().replace(old_key, &new_key).replace(old_offset, &new_offset).into();
        }
        fs::write(site.state().join(name), bytes).unwrap();
    }
    rewrite(&site.state_files("cursor-")[0], |record| {
        record["position"]["offset"] = new_offset.into();
        (record["committed_s"], record["caught_up_s"]) = (now().into(), now().into());
    });
}

#[test]
fn the_state_of_the_version_before_is_taken_over_without_a_loss_or_a_repeat() {
    // The page that was sealed comes again; or it does not, since the source is no longer asked. Or it was sealed twice.
    for (is_asked, is_twice) in [(true, false), (false, false), (true, true)] {
        let site = Site::new();
        site.akamai.store(40, (0..11).map(old_line));
        put_old_state(&site);
        if is_twice {
            let page = fs::read_to_string(site.state().join("spool-000000000003-3.events")).unwrap();
            let start: String = page.lines().take(3).map(|line| format!("{line}\n")).collect();
            fs::write(site.state().join("spool-000000000004-2.events"), start).unwrap();
        }
        if !is_asked {
            site.configure(&format!("{}enabled = no\n", site.akamai.config()));
        }
        let pending = site.place.run(&["status", "--json"]).text();
        assert!(!is_asked || pending.contains("\"pending_events\": 6") || is_twice, "{pending}");
        let mut got = numbers(&site.collect().expect(0).events());
        site.configure(&site.akamai.config());
        site.akamai.store(10, (11..13).map(old_line));
        got.extend(numbers(&site.collect().expect(0).events()));
        assert!(!is_asked || site.log().contains("is damaged or of another version"), "{}", site.log());
        assert_eq!(got, all(5..13), "asked {is_asked}, twice {is_twice}: {}", site.log());
        assert!(site.state_files("spool-").is_empty() && site.state_files("corrupt-").is_empty());
        let seen = site.akamai.seen();
        assert!(seen.iter().all(|seen| seen.target.contains("offset=")));
    }
}

#[test]
fn damaged_lines_of_the_version_before_are_not_handed_over() {
    let site = Site::new();
    site.akamai.store(40, (0..11).map(old_line));
    put_old_state(&site);
    let page = site.state().join("spool-000000000002-8.events");
    let mut text = fs::read_to_string(&page).unwrap();
    let at = text.rfind("akamai_siem").unwrap();
    text.replace_range(at - 2..at, "\u{1}\u{1}");
    fs::write(&page, text).unwrap();
    fs::OpenOptions::new().append(true).open(&page).unwrap().write_all(b"\n").unwrap();
    let ended = site.collect().expect(0);
    // Its page is asked for once more, and where a line was lost nothing counts as known: what had come comes again.
    assert_eq!((numbers(&ended.events()), lost(&ended)), (vec![5, 6, 8, 9, 10, 8, 9, 10], 1));
}
