//! The user that the work is done as, and Wazuh's sockets, which belong to a group that this user need not be in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use super::site::{Modulesd, Site, numbers};
use crate::analysisd::Analysisd;

/// The group of Wazuh, which need not have a name.
const WAZUH: u32 = 4_711;

fn all(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

/// A manager, a collector that works as nobody, and an analysisd; none where the tests do not run as root: only root can become
/// somebody else.
fn site(more: &str) -> Option<(Site, Analysisd)> {
    let site = Site::as_nobody(more)?;
    site.set_version("server", "v4.14.9");
    let analysisd = Analysisd::start(&site.wazuh("queue/sockets"), 5_000.0);
    for (name, mode) in [("queue/sockets", 0o770), ("queue/sockets/queue", 0o660), ("queue/sockets/analysis", 0o660)] {
        chown(site.wazuh(name), None, Some(WAZUH)).unwrap();
        set_mode(&site.wazuh(name), mode);
    }
    chown(site.wazuh("etc"), None, Some(WAZUH)).unwrap();
    Some((site, analysisd))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn arrived(analysisd: &Analysisd) -> Vec<u64> {
    let events: Vec<_> = analysisd.file().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut numbers = numbers(&events);
    numbers.sort_unstable();
    numbers
}

#[test]
fn any_user_reaches_wazuhs_queue_and_check_tries_as_that_user() {
    let Some((site, analysisd)) = site("output = queue\n") else { return };
    site.store(60, 0..5);
    site.collect().expect(0);
    assert_eq!(arrived(&analysisd), all(0..5), "{}", site.log());
    let said = site.place.run(&["check", "--offline"]).text();
    assert!(said.contains("accepts events of the user nobody") && said.contains("dropped no event"), "{said}");
    // Wazuh's files are of another group than its sockets.
    chown(site.wazuh("etc"), None, Some(WAZUH + 1)).unwrap();
    site.store(30, 5..8);
    site.collect().expect(1);
    assert!(site.log().contains("this user may not use it: set user = wazuh"), "{}", site.log());
    let said = site.place.run(&["check", "--offline"]).text();
    for socket in ["queue/sockets/queue", "queue/sockets/analysis"] {
        let line = said.lines().find(|line| line.contains(socket) && line.contains("may not use it"));
        assert!(line.is_some_and(|line| line.starts_with("error")), "{socket}: {said}");
    }
    chown(site.wazuh("etc"), None, Some(WAZUH)).unwrap();
    site.collect().expect(0);
    assert_eq!(arrived(&analysisd), all(0..8));
}

#[test]
fn without_a_right_to_the_counters_nothing_is_handed_over_without_a_proof() {
    let Some((site, _analysisd)) = site("") else { return };
    chown(site.wazuh("etc"), None, Some(WAZUH + 1)).unwrap();
    let mut modulesd = Modulesd::start(&site);
    site.store(60, 0..5);
    assert!(modulesd.collect().expect(0).stdout.is_empty());
    assert!(site.log().contains("may not use it: set user = wazuh; lines are kept"), "{}", site.log());
    chown(site.wazuh("etc"), None, Some(WAZUH)).unwrap();
    assert_eq!(numbers(&modulesd.collect().expect(0).events()), all(0..5), "{}", site.log());
}
