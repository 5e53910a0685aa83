//! Our block in every kind of `ossec.conf`: what is put in comes out again.

use super::*;
use proptest::prelude::*;

const BLOCK: &str = include_str!("../../../../ossec-snippets/wodle.xml");

fn installed(text: &str) -> String {
    String::from_utf8(apply(text.as_bytes(), &installation(text.as_bytes(), BLOCK).unwrap())).unwrap()
}

fn removed(text: &str) -> String {
    String::from_utf8(apply(text.as_bytes(), &removal(text.as_bytes()).unwrap().edits)).unwrap()
}

const ORIGINAL: &str = "<ossec_config>\n  <wodle name=\"command\">\n    <disabled>no</disabled>\n    <tag>akamai_siem</tag>\n    <command>/x/python3 /y/akamai.py</command>\n    <interval>5m</interval>\n  </wodle>\n</ossec_config>\n";

#[test]
fn our_block_stands_at_the_end_between_markers() {
    let text = installed("<ossec_config>\n</ossec_config>\n");
    assert_eq!(text, format!("<ossec_config>\n</ossec_config>\n{BEGIN}\n{NOTE}\n{BLOCK}{END}\n"));
    assert_eq!(installation(text.as_bytes(), BLOCK), Ok(vec![]));
    assert_eq!(removed(&text), "<ossec_config>\n</ossec_config>\n");
    // A block that was edited is put right again.
    let edited = text.replace("5m", "1m");
    assert_eq!(installed(&edited), text);
}

#[test]
fn the_originals_wodle_is_disabled_and_given_back() {
    for original in [ORIGINAL.to_owned(), ORIGINAL.replace("    <disabled>no</disabled>\n", "")] {
        let text = installed(&original);
        assert!(text.contains("<disabled>yes</disabled>"), "{text}");
        assert_eq!(installed(&text), text);
        assert_eq!(removed(&text), original);
        // Later edits by others stay.
        let edited = text.replacen("5m", "7m", 1) + "<!-- mine -->\n";
        assert_eq!(removed(&edited), original.replace("5m", "7m") + "<!-- mine -->\n");
    }
    let disabled = ORIGINAL.replace("<disabled>no", "<disabled>yes");
    assert_eq!(removed(&installed(&disabled)), disabled);
}

#[test]
fn other_wodles_are_left_alone() {
    for other in [
        ORIGINAL.replace("akamai_siem", "akamai_siem2"),
        ORIGINAL.replace("\"command\"", "\"syscollector\""),
        format!("<!-- {ORIGINAL} -->\n"),
    ] {
        assert_eq!(installed(&other), format!("{other}{BEGIN}\n{NOTE}\n{BLOCK}{END}\n"));
    }
}

#[test]
fn half_a_pair_of_markers_is_refused_with_its_line() {
    let whole = installed("<ossec_config>\n</ossec_config>\n");
    for (text, line, problem) in [
        (whole.replace(BEGIN, ""), 16, "our BEGIN marker is missing"),
        (whole.replace(END, ""), 3, "our END marker is missing"),
        (format!("{whole}{BEGIN}\n"), 17, "our BEGIN marker is there twice"),
        (format!("{END}\n{BEGIN}\n"), 2, "our markers stand in the wrong order"),
        (format!("<a>\n{BEGIN}\n{END}\n</a>"), 2, "our markers stand inside an element"),
        (format!("{BEGIN}\n<a>\n{END}\n</a>"), 1, "our markers stand inside an element"),
    ] {
        for result in [installation(text.as_bytes(), BLOCK), removal(text.as_bytes()).map(|removal| removal.edits)] {
            assert!(
                matches!(&result, Err(MergeError::Markers { line: at, problem: what }) if *at == line && *what == problem),
                "{text}: {result:?}"
            );
        }
    }
    assert!(matches!(installation(b"<a>", BLOCK), Err(MergeError::Scan(_))));
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("<ossec_config>\n  <global>\n    <a>b && c</a>\n  </global>\n</ossec_config>\n".to_owned()),
        Just("<ossec_config><localfile><location>x \\<y</location></localfile></ossec_config>".to_owned()),
        Just("<!-- a comment <b> !>\r\n".to_owned()),
        Just("loose text\n".to_owned()),
        Just("\n\n".to_owned()),
        Just(ORIGINAL.to_owned()),
        Just(ORIGINAL.replace("<disabled>no</disabled>", "")),
        Just(ORIGINAL.replace("akamai.py", "other.py").replace('\n', "\r\n")),
        Just(ORIGINAL.replace(">no<", ">yes<")),
    ]
}

proptest! {
    #[test]
    fn installing_and_removing_is_no_change(pieces in proptest::collection::vec(piece(), 0..6)) {
        let text = pieces.concat();
        let with = installed(&text);
        prop_assert_eq!(&installed(&with), &with);
        prop_assert_eq!(removed(&with), text);
    }

    #[test]
    fn any_text_is_refused_or_edited_without_a_trace(text in "[<>!a/\\-\\\\\"= \n]{0,60}") {
        if let Ok(edits) = installation(text.as_bytes(), BLOCK) {
            let with = apply(text.as_bytes(), &edits);
            prop_assert_eq!(apply(&with, &removal(&with).unwrap().edits), text.as_bytes());
            prop_assert!(with.starts_with(text.as_bytes()));
        }
    }
}
#[test]
fn our_block_is_known_without_its_markers() {
    let before = "<ossec_config>\n</ossec_config>\n";
    let whole = installed(before);
    let bare = whole.replace(&format!("{BEGIN}\n{NOTE}\n"), "").replace(&format!("{END}\n"), "");
    assert_eq!(bare, format!("{before}{BLOCK}"));
    assert_eq!((installed(&bare), removed(&bare)), (whole.clone(), before.to_owned()));
    // Beside one with markers, changed, and between others' elements.
    let mine = "<ossec_config>\n  <global></global>\n</ossec_config>\n";
    let wodle = BLOCK.lines().filter(|line| !line.contains("ossec_config")).collect::<Vec<_>>().join("\n") + "\n";
    let among = mine.replace("  <global>", &format!("{}  <global>", wodle.replace("5m", "1m")));
    assert_eq!(installed(&format!("{among}{whole}")), format!("{mine}{whole}"));
    assert_eq!(removed(&format!("{among}{whole}")), format!("{mine}{before}"));
    // A line end that both take.
    let unended = format!("{BLOCK}{BEGIN}\n{BLOCK}{END}");
    assert_eq!(removed(&unended), "");
    // One of others whose name only looks like ours.
    let other = BLOCK.replace("wazuh-akamai collect", "wazuh-akamai.sh collect").replace("akamai_siem", "other");
    assert_eq!(removed(&other), other);
}

/// What takes the square of that does not end in anybody's patience.
#[test]
fn a_configuration_of_sixty_thousand_parts_is_edited() {
    let wodles: String = (0..2_000).map(|number| ORIGINAL.replace("akamai.py", &format!("{number}.py"))).collect();
    let many = wodles + &"<ossec_config><global></global></ossec_config>\n".repeat(60_000);
    let with = installed(&many);
    assert_eq!(with.matches("<disabled>yes<").count(), 2_000);
    assert_eq!(others_that_run(many.as_bytes()).unwrap().len(), 2_000);
    assert_eq!(removed(&with), many);
}
