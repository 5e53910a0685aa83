//! Our block in `ossec.conf`: text + block → edits, and back. Never changes a byte outside our markers but the `<disabled>` of
//! a block that is taken over, which `removal` gives back as it was.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::scan::{Document, Element, ScanError, scan};

/// What begins our part of the file.
pub const BEGIN: &str = "<!-- BEGIN wazuh-akamai -->";

/// What ends it.
pub const END: &str = "<!-- END wazuh-akamai -->";

/// The tag of our wodle, which was the original integration's as well.
const TAG: &str = "akamai_siem";

/// What begins the line, inside our part, that remembers a block taken over.
const TAKEN_OVER: &str = "<!-- wazuh-akamai disabled the wodle with command ";

/// Replaces what stands at `at` by `with`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where.
    pub at: Range<usize>,
    /// By what.
    pub with: Vec<u8>,
}

/// Why a file is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Wazuh itself would not take it.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Somebody has been at our markers.
    #[error("line {line}: {problem}: put the lines \"{BEGIN}\" and \"{END}\" around our block again, or remove both")]
    Markers {
        /// The line, from 1.
        line: usize,
        /// What is wrong with them.
        problem: &'static str,
    },
}

/// The edits that put `block` (whole lines) at the end of the file, between our markers, and disable other wodles with our
/// tag. None where everything is as it should be.
///
/// # Errors
/// A file that is not safely edited.
pub fn installation(text: &[u8], block: &str) -> Result<Vec<Edit>, MergeError> {
    let document = scan(text)?;
    let ours = our_span(text, &document)?;
    let mut edits = Vec::new();
    let mut taken_over = ours.as_ref().map_or_else(Vec::new, |span| remembered(&text[span.clone()]));
    for (wodle, element, command) in with_ids(text, &document, ours.as_ref()) {
        if let Some((edit, was)) = disabling(text, &document, wodle, element) {
            edits.push(edit);
            taken_over.retain(|memory| memory.command != command);
            taken_over.push(Memory { command, was });
        }
    }
    let mut part = format!("{BEGIN}\n");
    for memory in &taken_over {
        part += &memory.line();
    }
    part += block;
    part += END;
    match ours {
        Some(span) if text[span.clone()] == *part.as_bytes() => {}
        Some(span) => edits.push(Edit { at: span, with: part.into_bytes() }),
        None => {
            // A file without a final newline gets none: removal then leaves it as it was.
            let ended = text.is_empty() || text.ends_with(b"\n");
            let with = if ended { format!("{part}\n") } else { format!("\n{part}") };
            edits.push(Edit { at: text.len()..text.len(), with: with.into_bytes() });
        }
    }
    edits.sort_by_key(|edit| edit.at.start);
    Ok(edits)
}

/// The edits that take our part out again and give wodles that were taken over back. None where there is nothing of ours.
///
/// # Errors
/// A file that is not safely edited.
pub fn removal(text: &[u8]) -> Result<Vec<Edit>, MergeError> {
    let document = scan(text)?;
    let Some(span) = our_span(text, &document)? else { return Ok(Vec::new()) };
    let mut memories = remembered(&text[span.clone()]);
    let mut edits = Vec::new();
    for (wodle, element, id) in with_ids(text, &document, Some(&span)) {
        let Some(at) = memories.iter().position(|memory| memory.command == id) else { continue };
        let memory = memories.remove(at);
        edits.extend(enabling(text, &document, wodle, element, &memory.was));
    }
    let at = match (text.get(span.end), span.start.checked_sub(1)) {
        (Some(b'\n'), _) => span.start..span.end + 1,
        (None, Some(before)) if text[before] == b'\n' => before..span.end,
        _ => span,
    };
    edits.push(Edit { at, with: Vec::new() });
    edits.sort_by_key(|edit| edit.at.start);
    Ok(edits)
}

/// The text with its edits, which are in order and do not overlap.
pub fn apply(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1_024);
    let mut done = 0;
    for edit in edits {
        out.extend_from_slice(&text[done..edit.at.start]);
        out.extend_from_slice(&edit.with);
        done = edit.at.end;
    }
    out.extend_from_slice(&text[done..]);
    out
}

/// Lines of other wodles with our tag that run: whichever of them is not disabled fetches everything a second time.
///
/// # Errors
/// A file that is not safely edited.
pub fn others_that_run(text: &[u8]) -> Result<Vec<usize>, MergeError> {
    let document = scan(text)?;
    let ours = our_span(text, &document)?;
    let running = other_wodles(text, &document, ours.as_ref())
        .filter(|(wodle, _)| document.value(text, *wodle, "disabled") != Some(b"yes"));
    Ok(running
        .map(|(_, element)| 1 + text[..element.span.start].iter().filter(|byte| **byte == b'\n').count())
        .collect())
}

/// How many wodles our part remembers to have been taken over.
pub fn taken_over(part: &[u8]) -> usize {
    remembered(part).len()
}

/// Our part of the file, markers included.
///
/// # Errors
/// A file that is not safely edited.
pub fn our_part(text: &[u8]) -> Result<Option<&[u8]>, MergeError> {
    Ok(our_span(text, &scan(text)?)?.map(|span| &text[span]))
}

/// From our first marker to behind our last one.
fn our_span(text: &[u8], document: &Document) -> Result<Option<Range<usize>>, MergeError> {
    let marks = |mark: &str| -> Vec<Range<usize>> {
        let comments = document.comments.iter().map(|comment| comment.span.clone());
        comments.filter(|span| text[span.clone()] == *mark.as_bytes()).collect()
    };
    let inside =
        |span: &Range<usize>| document.comments.iter().any(|comment| comment.span == *span && comment.parent.is_some());
    let wrong = |span: &Range<usize>, problem| {
        let line = 1 + text[..span.start].iter().filter(|byte| **byte == b'\n').count();
        Err(MergeError::Markers { line, problem })
    };
    match (&marks(BEGIN)[..], &marks(END)[..]) {
        ([], []) => Ok(None),
        ([begin], [end]) if begin.end <= end.start => {
            if inside(begin) || inside(end) {
                return wrong(begin, "our markers stand inside an element");
            }
            let crosses = |element: &Element| {
                element.parent.is_none()
                    && element.span.start < end.start
                    && element.span.end > begin.end
                    && !(element.span.start >= begin.end && element.span.end <= end.start)
            };
            if document.elements.iter().any(crosses) {
                return wrong(begin, "an element crosses one of our markers");
            }
            Ok(Some(begin.start..end.end))
        }
        ([begin], []) => wrong(begin, "our END marker is missing"),
        ([], [end]) => wrong(end, "our BEGIN marker is missing"),
        ([begin], [_]) => wrong(begin, "our markers stand in the wrong order"),
        ([_, second, ..], _) => wrong(second, "our BEGIN marker is there twice"),
        (_, [_, second, ..]) => wrong(second, "our END marker is there twice"),
    }
}

/// The command wodles with our tag outside our markers.
fn other_wodles<'a>(
    text: &'a [u8],
    document: &'a Document,
    ours: Option<&'a Range<usize>>,
) -> impl Iterator<Item = (usize, &'a Element)> {
    let roots = document.children(text, None, "ossec_config");
    roots.flat_map(move |(root, _)| document.children(text, Some(root), "wodle")).filter(move |(index, element)| {
        let is_command = element
            .attributes
            .first()
            .is_some_and(|(name, value)| text[name.clone()] == *b"name" && text[value.clone()] == *b"command");
        let is_ours = ours.is_some_and(|span| span.start <= element.span.start && element.span.end <= span.end);
        is_command && !is_ours && document.value(text, *index, "tag") == Some(TAG.as_bytes())
    })
}

/// The same, each with what tells it from the others: its command, and which of those with that command it is.
fn with_ids<'a>(
    text: &'a [u8],
    document: &'a Document,
    ours: Option<&'a Range<usize>>,
) -> Vec<(usize, &'a Element, String)> {
    let mut found: Vec<(usize, &Element, String)> = Vec::new();
    for (wodle, element) in other_wodles(text, document, ours) {
        let command = command_id(text, document, wodle);
        let before = found.iter().filter(|(_, _, id)| id.starts_with(&command)).count();
        found.push((wodle, element, format!("{command}.{before}")));
    }
    found
}

/// The edit that disables a wodle, and what stood there; none if it is disabled already.
fn disabling(text: &[u8], document: &Document, wodle: usize, element: &Element) -> Option<(Edit, Was)> {
    match document.children(text, Some(wodle), "disabled").next_back() {
        Some((_, disabled)) => match &text[disabled.content.clone()] {
            b"yes" => None,
            value => {
                let was = Was::Value(String::from_utf8_lossy(value).into_owned());
                // Content that could not be written into a comment and read again is not touched.
                let is_plain = value.iter().all(|byte| byte.is_ascii_alphanumeric());
                is_plain.then(|| (Edit { at: disabled.content.clone(), with: b"yes".to_vec() }, was))
            }
        },
        None if element.content.is_empty() && text[element.span.clone()].ends_with(b"/>") => None,
        None => {
            let at = element.content.start;
            Some((Edit { at: at..at, with: INSERTED.as_bytes().to_vec() }, Was::Absent))
        }
    }
}

/// What is put into a wodle that has no `<disabled>`.
const INSERTED: &str = "<disabled>yes</disabled>";

/// The edit that undoes [`disabling`]; none if somebody has changed it since.
fn enabling(text: &[u8], document: &Document, wodle: usize, element: &Element, was: &Was) -> Option<Edit> {
    match was {
        Was::Value(value) => {
            let (_, disabled) = document.children(text, Some(wodle), "disabled").next_back()?;
            (text[disabled.content.clone()] == *b"yes")
                .then(|| Edit { at: disabled.content.clone(), with: value.clone().into_bytes() })
        }
        Was::Absent => {
            let at = element.content.start..element.content.start + INSERTED.len();
            (text.get(at.clone()) == Some(INSERTED.as_bytes())).then(|| Edit { at, with: Vec::new() })
        }
    }
}

/// What stood where a wodle was disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Was {
    Absent,
    Value(String),
}

/// A wodle that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Memory {
    /// What tells its command from others.
    command: String,
    was: Was,
}

impl Memory {
    fn line(&self) -> String {
        match &self.was {
            Was::Absent => format!("{TAKEN_OVER}{} (there was no disabled) -->\n", self.command),
            Was::Value(value) => format!("{TAKEN_OVER}{} (it was {value}) -->\n", self.command),
        }
    }
}

fn remembered(part: &[u8]) -> Vec<Memory> {
    let text = String::from_utf8_lossy(part);
    let lines = text.lines().filter_map(|line| line.strip_prefix(TAKEN_OVER)?.strip_suffix(") -->"));
    lines
        .filter_map(|rest| {
            let (command, was) = rest.split_once(" (")?;
            let was = match was.strip_prefix("it was ") {
                Some(value) => Was::Value(value.to_owned()),
                None => Was::Absent,
            };
            Some(Memory { command: command.to_owned(), was })
        })
        .collect()
}

fn command_id(text: &[u8], document: &Document, wodle: usize) -> String {
    let command = document.value(text, wodle, "command").unwrap_or_default();
    Sha256::digest(command)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: &str = include_str!("../../ossec-snippets/wodle.xml");

    fn installed(text: &str) -> String {
        String::from_utf8(apply(text.as_bytes(), &installation(text.as_bytes(), BLOCK).unwrap())).unwrap()
    }

    fn removed(text: &str) -> String {
        String::from_utf8(apply(text.as_bytes(), &removal(text.as_bytes()).unwrap())).unwrap()
    }

    const ORIGINAL: &str = "<ossec_config>\n  <wodle name=\"command\">\n    <disabled>no</disabled>\n    <tag>akamai_siem</tag>\n    <command>/x/python3 /y/akamai.py</command>\n    <interval>5m</interval>\n  </wodle>\n</ossec_config>\n";

    #[test]
    fn our_block_stands_at_the_end_between_markers() {
        let text = installed("<ossec_config>\n</ossec_config>\n");
        assert_eq!(text, format!("<ossec_config>\n</ossec_config>\n{BEGIN}\n{BLOCK}{END}\n"));
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
            assert_eq!(installed(&other), format!("{other}{BEGIN}\n{BLOCK}{END}\n"));
        }
    }

    #[test]
    fn half_a_pair_of_markers_is_refused_with_its_line() {
        let whole = installed("<ossec_config>\n</ossec_config>\n");
        for (text, line, problem) in [
            (whole.replace(BEGIN, ""), 15, "our BEGIN marker is missing"),
            (whole.replace(END, ""), 3, "our END marker is missing"),
            (format!("{whole}{BEGIN}\n"), 16, "our BEGIN marker is there twice"),
            (format!("{END}\n{BEGIN}\n"), 2, "our markers stand in the wrong order"),
            (format!("<a>\n{BEGIN}\n{END}\n</a>"), 2, "our markers stand inside an element"),
            (format!("{BEGIN}\n<a>\n{END}\n</a>"), 1, "our markers stand inside an element"),
        ] {
            for result in [installation(text.as_bytes(), BLOCK), removal(text.as_bytes())] {
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
                prop_assert_eq!(apply(&with, &removal(&with).unwrap()), text.as_bytes());
                prop_assert!(with.starts_with(text.as_bytes()));
            }
        }
    }
}
