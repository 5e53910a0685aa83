//! What is asked of the SIEM API: the request's path and query, built once, and the bounds of time windows. Never knows the
//! time itself.
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

/// Akamai keeps events for 12 hours (documented).
pub const RETENTION_S: i64 = 43_200;

/// Seconds by which a window stays clear of the end of those 12 hours: it moves on while a request is on its way, and two
/// clocks never agree.
pub const RETENTION_MARGIN_S: i64 = 60;

/// Akamai leaves out the newest 5 seconds (documented); a window that ends later is refused.
pub const NEWEST_S: i64 = 5;

/// The greatest limit of one request (documented).
pub const LIMIT_MAX: u32 = 600_000;

/// Ids in one request at most (the Databricks integration's documentation; Akamai's own names no bound).
pub const CONFIG_IDS_MAX: usize = 1_000;

/// The ids of the security configurations whose events one request asks for, in the order given: digits only, none twice,
/// from 1 to [`CONFIG_IDS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigIds(Vec<String>);

/// Which events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Those stored in a span of time.
    Window(Window),
    /// Those behind an offset that Akamai returned.
    Offset(String),
}

/// A span of time in Unix seconds. It selects by when Akamai stored an event, not by when the event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First second.
    pub from: i64,
    /// Last second; none for "up to now, and on with the offset".
    pub to: Option<i64>,
}

/// A span that is asked for piece by piece, in order. Two pieces share the second between them: whether an answer holds it is
/// documented nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    at: i64,
    to: i64,
    length_s: i64,
    length_s_max: i64,
    /// Events that the last answer lacked, where it was not taken.
    lacked: Option<u64>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whose events.
    pub config_ids: ConfigIds,
    /// Which.
    pub range: Range,
    /// How many at most; Akamai may send slightly more.
    pub limit: u32,
}

/// Why a span of time cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Its beginning is gone.
    #[error("the window begins {age_s} s ago, but Akamai keeps events for 12 hours ({RETENTION_S} s) only")]
    TooOld {
        /// Age of the beginning, in seconds.
        age_s: i64,
    },
    /// It holds nothing.
    #[error("the window is empty: its beginning must lie before its end, and Akamai answers up to {NEWEST_S} s ago")]
    Empty,
}

impl ConfigIds {
    /// Reads ids separated by `;` or `,`.
    ///
    /// # Errors
    /// What is wrong, for a message: an id that is not a number, an id given twice, none at all, too many.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ids: Vec<String> = Vec::new();
        for id in text.split([';', ',']).map(str::trim).filter(|id| !id.is_empty()) {
            if !id.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("{id:?} is not a number"));
            }
            if ids.iter().any(|known| known == id) {
                return Err(format!("{id} is given twice"));
            }
            if ids.len() == CONFIG_IDS_MAX {
                return Err(format!("more than {CONFIG_IDS_MAX} ids"));
            }
            ids.push(id.to_owned());
        }
        if ids.is_empty() { Err("no id".into()) } else { Ok(Self(ids)) }
    }

    /// The ids as they stand in a request's path.
    pub fn joined(&self) -> String {
        self.0.join(";")
    }
}

impl Query {
    /// Path and query, to be signed and sent as they are. `;` stands raw in the path (as Akamai's own connector sends it);
    /// the offset is percent-encoded, so that none can add a parameter.
    pub fn target(&self) -> String {
        let path = format!("/siem/v1/configs/{}", self.config_ids.joined());
        let limit = self.limit;
        match &self.range {
            Range::Window(Window { from, to: Some(to) }) => format!("{path}?from={from}&to={to}&limit={limit}"),
            Range::Window(Window { from, to: None }) => format!("{path}?from={from}&limit={limit}"),
            Range::Offset(offset) => format!("{path}?offset={}&limit={limit}", percent_encoded(offset)),
        }
    }
}

impl Window {
    /// The last `seconds` that Akamai answers for; of the whole 12 hours, what it still has when it is asked.
    pub fn last(seconds: i64, now: i64) -> Self {
        let oldest = now - RETENTION_S + RETENTION_MARGIN_S;
        Self { from: (now - NEWEST_S).saturating_sub(seconds).max(oldest), to: Some(now - NEWEST_S) }
    }

    /// A span the user names. An end later than Akamai answers for is drawn in.
    ///
    /// # Errors
    /// A span that lies outside the 12 hours Akamai keeps, or holds nothing.
    pub fn named(from: i64, to: Option<i64>, now: i64) -> Result<Self, WindowError> {
        let newest = now - NEWEST_S;
        let to = to.unwrap_or(newest).min(newest);
        if from < now - RETENTION_S {
            return Err(WindowError::TooOld { age_s: now.saturating_sub(from) });
        }
        if from >= to {
            return Err(WindowError::Empty);
        }
        Ok(Self { from, to: Some(to) })
    }
}

impl Slices {
    /// The span from `from` to `to`, in pieces of at most so many seconds.
    pub fn new(from: i64, to: i64, length_s_max: i64) -> Self {
        let length_s = length_s_max.max(1);
        Self { at: from, to, length_s, length_s_max: length_s, lacked: None }
    }

    /// The next piece: its first and last second. None where everything has come.
    pub fn next(&self) -> Option<(i64, i64)> {
        (self.at < self.to).then(|| (self.at, self.at.saturating_add(self.length_s).min(self.to)))
    }

    /// The next piece has come.
    pub fn done(&mut self) {
        self.at = self.at.saturating_add(self.length_s).min(self.to);
        self.length_s = self.length_s.saturating_mul(2).min(self.length_s_max);
    }

    /// Whether an answer is taken that lacks so many events by Akamai's count: where the one before lacked as many, or the piece
    /// cannot be smaller, asking again would help no further.
    pub fn accepts(&mut self, lacking: u64) -> bool {
        let is_smallest = self.length_s.min(self.to - self.at) <= 1;
        let accepts = lacking == 0 || self.lacked.is_some_and(|before| before == lacking || is_smallest);
        self.lacked = (!accepts).then_some(lacking);
        accepts
    }

    /// The next piece is too much for one answer: half of it then. False where it is a single second.
    pub fn halve(&mut self) -> bool {
        let length_s = self.length_s.min(self.to - self.at);
        self.length_s = (length_s / 2).max(1);
        length_s > 1
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(range: Range) -> String {
        Query { config_ids: ConfigIds::parse("14227; 29182,82912").unwrap(), range, limit: 10_000 }.target()
    }

    #[test]
    fn targets_are_built_once_with_the_offset_encoded() {
        assert_eq!(
            target(Range::Window(Window { from: 1, to: Some(2) })),
            "/siem/v1/configs/14227;29182;82912?from=1&to=2&limit=10000"
        );
        assert_eq!(
            target(Range::Window(Window { from: 1, to: None })),
            "/siem/v1/configs/14227;29182;82912?from=1&limit=10000"
        );
        assert_eq!(
            target(Range::Offset("71cca;3p-_~&limit=1 \r\né".into())),
            "/siem/v1/configs/14227;29182;82912?offset=71cca%3B3p-_~%26limit%3D1%20%0D%0A%C3%A9&limit=10000"
        );
    }

    #[test]
    fn config_ids_are_numbers_given_once() {
        for (text, error) in
            [("", "no id"), (" ; ", "no id"), ("12a", "\"12a\" is not a number"), ("1;1", "1 is given twice")]
        {
            assert_eq!(ConfigIds::parse(text), Err(error.into()), "{text}");
        }
    }

    #[test]
    fn a_request_names_a_bounded_number_of_ids() {
        let ids: Vec<String> = (0..=CONFIG_IDS_MAX).map(|id| id.to_string()).collect();
        assert_eq!(ConfigIds::parse(&ids[1..].join(",")).map(|ids| ids.joined()), Ok(ids[1..].join(";")));
        assert_eq!(ConfigIds::parse(&ids.join(";")), Err("more than 1000 ids".into()));
    }

    #[test]
    fn a_span_comes_whole_in_pieces_that_share_their_edges() {
        let mut slices = Slices::new(100, 110, 8);
        let mut got = Vec::new();
        while let Some((from, to)) = slices.next() {
            // Nothing longer than 3 seconds fits into an answer.
            if to - from > 3 {
                assert!(slices.halve());
                continue;
            }
            got.push((from, to));
            slices.done();
        }
        assert_eq!(got, [(100, 102), (102, 104), (104, 106), (106, 108), (108, 110)]);
        let mut second = Slices::new(7, 8, 900);
        assert!(!second.halve() && second.next() == Some((7, 8)));
    }

    proptest! {
        #[test]
        fn no_offset_breaks_out_of_its_parameter(offset in any::<String>()) {
            let target = target(Range::Offset(offset.clone()));
            let encoded = target.strip_prefix("/siem/v1/configs/14227;29182;82912?offset=").unwrap();
            let encoded = encoded.strip_suffix("&limit=10000").unwrap();
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            let mut decoded = Vec::new();
            let mut bytes = encoded.bytes();
            while let Some(byte) = bytes.next() {
                let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
                decoded.push(if byte == b'%' { u8::try_from(digit() * 16 + digit()).unwrap() } else { byte });
            }
            prop_assert_eq!(decoded, offset.into_bytes());
        }
    }

    #[test]
    fn windows_stay_within_what_akamai_keeps() {
        let now = 1_000_000;
        assert_eq!(Window::last(300, now), Window { from: 999_695, to: Some(999_995) });
        assert_eq!(Window::last(RETENTION_S, now), Window { from: 956_860, to: Some(999_995) });
        assert_eq!(
            Window::named(now - RETENTION_S, None, now),
            Ok(Window { from: now - RETENTION_S, to: Some(999_995) })
        );
        assert_eq!(Window::named(now - RETENTION_S - 1, None, now), Err(WindowError::TooOld { age_s: 43_201 }));
        assert_eq!(Window::named(999_000, Some(2_000_000), now), Ok(Window { from: 999_000, to: Some(999_995) }));
        assert_eq!(Window::named(999_994, Some(999_995), now).map(|window| window.from), Ok(999_994));
        assert_eq!(Window::named(999_995, None, now), Err(WindowError::Empty));
        assert_eq!(Window::named(i64::MIN, None, now), Err(WindowError::TooOld { age_s: i64::MAX }));
    }
}
