//! Bursts: what completes one, what must not, and that counting survives cuts. Never looks at the clock.

use super::*;
use proptest::prelude::*;

fn event(time_s: i64, source: &str, category: Category, verdict: Verdict) -> Counted<'static> {
    let host = b"www.example.com";
    Counted { time_ms: time_s * 1_000, source: source.parse().ok(), host, verdict, category, group: None }
}

fn blocked(time_s: i64, source: &str) -> Counted<'static> {
    event(time_s, source, Category::Other, Verdict::Mitigated)
}

fn counted(bursts: &mut Bursts, event: &Counted<'_>) -> String {
    let mut words = String::new();
    bursts.count(event, &mut words);
    words
}

#[test]
fn the_eighth_blocked_event_within_five_minutes_completes_a_burst_which_is_marked_once_a_window() {
    let mut bursts = Bursts::default();
    let marks: Vec<i64> = (0..80)
        .filter(|time| counted(&mut bursts, &blocked(1_000 + time * 10, "192.0.2.1")) == "source_blocked")
        .collect();
    assert_eq!(marks, [7, 37, 67]);
    let slow = (0..50).filter(|time| !counted(&mut bursts, &blocked(10_000 + time * 50, "192.0.2.2")).is_empty());
    assert_eq!(slow.count(), 0);
}

#[test]
fn every_spelling_of_an_address_and_every_one_of_a_64_count_as_one() {
    for sources in [
        ["2001:db8:0:1::1", "2001:db8:0:1:ffff::", "2001:DB8::1:0:0:0:9", "2001:0db8:0000:0001:0000:0000:0000:0001"],
        ["192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"],
    ] {
        let mut bursts = Bursts::default();
        let marks = (0..8).filter(|&time| {
            !counted(&mut bursts, &blocked(1_000 + time, sources[usize::try_from(time).unwrap() % 4])).is_empty()
        });
        assert_eq!(marks.collect::<Vec<i64>>(), [7]);
    }
    let mut bursts = Bursts::default();
    let other =
        (0..8).filter(|time| !counted(&mut bursts, &blocked(1_000, &format!("2001:db8:0:{time}::1"))).is_empty());
    assert_eq!(other.count(), 0);
    for unlike in [["32.1.13.184", "2001:db8::1"], ["0.0.0.0", "::1"]] {
        let mut bursts = Bursts::default();
        let marks = (0..14).filter(|time| !counted(&mut bursts, &blocked(1_000, unlike[time % 2])).is_empty());
        assert_eq!(marks.count(), 0, "{unlike:?}");
    }
}

#[test]
fn one_event_far_off_the_others_changes_nothing_for_them() {
    for off_s in [-90_000, -3_700, -400, 400, 1_800, 90_000] {
        for place in 0..8 {
            for source in ["192.0.2.1", "192.0.2.9"] {
                let mut bursts = Bursts::default();
                let marks = (0..8).filter(|&time| {
                    if time == place {
                        assert_eq!(counted(&mut bursts, &blocked(100_000 + off_s, source)), "");
                    }
                    !counted(&mut bursts, &blocked(100_000 + 10 * time, "192.0.2.1")).is_empty()
                });
                assert_eq!(marks.collect::<Vec<i64>>(), [7], "{off_s} {place} {source}");
            }
        }
    }
}

#[test]
fn events_far_ahead_of_the_others_take_no_room_from_them() {
    for ahead_s in [[90_000, 180_000, 270_000], [90_000, 90_010, 90_020]] {
        let mut bursts = Bursts::default();
        let marks = (0..70).filter(|&time| {
            if let Some(ahead) = (0..3).find(|ahead| time == 3 + 20 * ahead) {
                let ahead_s = ahead_s[usize::try_from(ahead).unwrap()];
                assert_eq!(counted(&mut bursts, &blocked(1_000 + ahead_s, "192.0.2.1")), "");
            }
            !counted(&mut bursts, &blocked(1_000 + 10 * time, "192.0.2.1")).is_empty()
        });
        assert_eq!(marks.collect::<Vec<i64>>(), [7, 37, 67]);
    }
}

#[test]
fn a_burst_after_a_quiet_day_is_seen_at_once() {
    let mut bursts = Bursts::default();
    let times =
        (0..20).chain(90_000..90_020).filter(|time| !counted(&mut bursts, &blocked(*time, "192.0.2.1")).is_empty());
    assert_eq!(times.collect::<Vec<i64>>(), [7, 90_007]);
}

#[test]
fn a_slow_source_is_seen_among_forty_thousand() {
    let mut bursts = Bursts::default();
    let mut marks = Vec::new();
    for round in 0..8 {
        let slow = Counted { category: Category::Waf, ..blocked(1_000 + round * 40, "198.51.100.1") };
        marks.push(counted(&mut bursts, &slow).contains("source_blocked"));
        for number in 0..5_000_u32 {
            let spray = std::net::Ipv4Addr::from(10 << 24 | (u32::try_from(round).unwrap() * 5_000 + number));
            let event = Counted {
                group: Some(AttackGroup::Sqli),
                category: Category::Waf,
                ..blocked(1_001 + round * 40, &spray.to_string())
            };
            counted(&mut bursts, &event);
        }
    }
    assert_eq!(marks.iter().position(|mark| *mark), Some(7));
}

#[test]
fn every_kind_is_completed_by_what_it_counts() {
    use AttackGroup::{Lfi, Protocol, Sqli, Wat, Xss};
    let sources: Vec<String> = (0..10).map(|number| format!("192.0.2.{number}")).collect();
    let base = |time, category, verdict| event(time, "192.0.2.1", category, verdict);
    for (word, events) in [
        (
            "source_flagged_high",
            (0..8)
                .map(|time| Counted { group: Some(Sqli), ..base(time, Category::Waf, Verdict::Detected) })
                .collect::<Vec<_>>(),
        ),
        ("source_flagged_high", (0..8).map(|time| base(time, Category::Malware, Verdict::Detected)).collect()),
        (
            "source_flagged_low",
            (0..8).map(|time| Counted { group: Some(Xss), ..base(time, Category::Waf, Verdict::Detected) }).collect(),
        ),
        (
            "source_scanner",
            [Sqli, Sqli, Lfi, Wat, Protocol]
                .iter()
                .map(|group| Counted { group: Some(*group), ..base(5, Category::Waf, Verdict::Mitigated) })
                .collect(),
        ),
        (
            "host_distributed",
            sources.iter().map(|source| event(5, source, Category::Waf, Verdict::Mitigated)).collect(),
        ),
        ("host_dos", (0..10).map(|time| base(time, Category::Rate, Verdict::Mitigated)).collect()),
        ("source_ato", (0..6).map(|time| base(time, Category::Ato, Verdict::Detected)).collect()),
    ] {
        let mut bursts = Bursts::default();
        let words: Vec<String> = events.iter().map(|event| counted(&mut bursts, event)).collect();
        assert!(words[..words.len() - 1].iter().all(String::is_empty), "{words:?}");
        assert_eq!(words.last().unwrap(), word);
    }
}

#[test]
fn allowed_events_and_those_without_source_or_host_do_not_count() {
    let mut bursts = Bursts::default();
    for verdict in [Verdict::Allowed, Verdict::Other] {
        for time in 0..20 {
            assert_eq!(counted(&mut bursts, &event(time, "192.0.2.1", Category::Waf, verdict)), "");
        }
    }
    let nobody = Counted { source: None, host: b"", ..event(1, "", Category::Waf, Verdict::Mitigated) };
    for _ in 0..20 {
        assert_eq!(counted(&mut bursts, &nobody), "");
    }
    assert!(bursts.counters.is_empty());
}

#[test]
fn late_events_count_while_their_window_is_open() {
    let mut bursts = Bursts::default();
    let at = |time| event(time, "192.0.2.1", Category::Other, Verdict::Mitigated);
    for time in [1_000, 1_290, 1_010, 1_280, 1_020, 1_270, 1_030] {
        assert_eq!(counted(&mut bursts, &at(time)), "");
    }
    // 290 seconds before the latest, and too late to count.
    assert_eq!(counted(&mut bursts, &at(900)), "");
    assert_eq!(counted(&mut bursts, &at(1_040)), "source_blocked");
}

#[test]
fn a_million_sources_stay_within_the_bound_and_the_latest_are_kept() {
    let mut bursts = Bursts::default();
    for number in 0..1_000_000_u32 {
        let source = std::net::Ipv4Addr::from(number).to_string();
        let event = Counted {
            group: Some(AttackGroup::Sqli),
            ..event(i64::from(number / 10_000), &source, Category::Waf, Verdict::Detected)
        };
        counted(&mut bursts, &event);
        assert!(bursts.counters.len() <= KEYS_MAX && bursts.bytes() <= COUNTERS_BYTES_MAX);
    }
    let last = std::net::Ipv4Addr::from(999_999).to_string();
    let again = Counted { group: Some(AttackGroup::Sqli), ..event(100, &last, Category::Waf, Verdict::Detected) };
    let words: Vec<String> = (0..7).map(|_| counted(&mut bursts, &again)).collect();
    assert!(words[6].contains("source_flagged_high"), "{words:?}");
    assert!(bursts.to_bytes().len() < COUNTERS_BYTES_MAX);
}

#[test]
fn anything_else_than_a_saved_state_is_none() {
    let mut bursts = Bursts::default();
    counted(&mut bursts, &event(1, "192.0.2.1", Category::Waf, Verdict::Mitigated));
    let bytes = bursts.to_bytes();
    assert_eq!(Bursts::from_bytes(&bytes), Some(bursts));
    for length in 0..bytes.len() {
        assert_eq!(Bursts::from_bytes(&bytes[..length]), None);
    }
    assert_eq!(Bursts::from_bytes(&[&bytes[..], b"x"].concat()), None);
}

proptest! {
    #[test]
    fn cuts_make_no_difference(events in proptest::collection::vec((0..400_i64, 0..3_u8, 0..13_usize, any::<bool>()), 0..300), cuts in proptest::collection::vec(0..300_usize, 0..10)) {
        use Category::{Ato, Bot, Custom, Malware, Other, Rate, Waf};
        let categories = [Waf, Custom, Malware, Ato, Rate, Other, Bot];
        let (mut whole, mut cut) = (Bursts::default(), Bursts::default());
        for (number, (time, source, kind, blocked)) in events.into_iter().enumerate() {
            let source = format!("192.0.2.{source}");
            let verdict = if blocked { Verdict::Mitigated } else { Verdict::Detected };
            let groups = [AttackGroup::Sqli, AttackGroup::Xss, AttackGroup::Wat, AttackGroup::Lfi, AttackGroup::Policy];
            let group = groups.get(kind % 7).copied().filter(|_| kind < 5);
            let event = Counted { group, ..event(time, &source, categories[kind % 7], verdict) };
            if cuts.contains(&number) {
                cut = Bursts::from_bytes(&cut.to_bytes()).unwrap();
            }
            prop_assert_eq!(counted(&mut whole, &event), counted(&mut cut, &event), "event {}", number);
        }
    }
}
