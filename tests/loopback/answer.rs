//! One request → one answer of the SIEM API, or one of its faults. Never keeps a page that it makes up.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};
use serde_json::json;

use super::signature::{self, Refusal};
use super::{Habits, NEWEST_S, RETENTION_S, Seen, State, now, samples};

/// How the context line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextShape {
    Compact,
    BlanksWithoutLimit,
    LimitOnlyWhenFull,
    OffsetFirst,
    LimitNull,
    EmptyOffsetWhenNothing,
}

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A refusal with problem+json; `Retry-After` if given.
    Status(u16, Option<String>),
    /// A refusal by something in between.
    Html(u16),
    /// The body breaks off after so many bytes and the connection with it.
    CutAfter(usize),
    /// The same, where the body is longer.
    AtMost(usize),
    /// The same inside a gzip stream.
    CutGzip(usize),
    /// The body ends properly after its events.
    NoContext,
    /// The body ends properly after so many bytes, wherever that is.
    EndsAfter(usize),
    /// The body ends with the plain text of an expired offset.
    BadOffsetTail,
    /// The connection ends without an answer.
    Reset,
    /// So many bytes at a time, with a pause.
    Trickle(usize, Duration),
    /// The context counts so many events more than came.
    TotalTooHigh(u64),
    /// A line that is no JSON comes first.
    GarbageLine,
    /// An answer that points elsewhere.
    Redirect(String),
}

/// A body made of pieces; an error among them breaks the connection.
pub(super) struct Pieces {
    pieces: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
    /// An error that waits until what came before it is on its way.
    error: Option<io::Error>,
}

impl Pieces {
    fn new(pieces: impl Iterator<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { pieces: Box::new(pieces), error: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.pieces.next() {
            Some(Err(error)) => {
                self.error = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            piece => Poll::Ready(piece.map(|piece| piece.map(Frame::data))),
        }
    }
}

/// How long an answer lets wait; none for ever.
pub(super) fn pause(habits: &Habits, request: &Request<Incoming>) -> Option<Duration> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    match habits.events_per_s_before_first_byte {
        _ if habits.hangs => None,
        Some(events_per_s) => Some(Duration::from_secs_f64(limit_of(target) as f64 / events_per_s as f64)),
        None => Some(Duration::ZERO),
    }
}

/// The limit that a request asks for.
fn limit_of(target: &str) -> u64 {
    target.split(['?', '&']).find_map(|pair| pair.strip_prefix("limit=")?.parse().ok()).unwrap_or(10_000)
}

/// The answer; none to end the connection without one.
pub(super) fn answer(state: &mut State, request: &Request<Incoming>, address: SocketAddr) -> Option<Response<Pieces>> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let fault = state.faults.pop_front();
    let answer = match &fault {
        Some(Fault::Reset) => None,
        _ => Some(checked(state, request, &target, address, fault.as_ref()).unwrap_or_else(|refusal| refusal)),
    };
    let headers = request.headers().iter();
    state.seen.push(Seen {
        at: Instant::now(),
        target,
        status: answer.as_ref().map_or(0, |answer| answer.status().as_u16()),
        headers: headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned())).collect(),
    });
    answer
}

fn checked(
    state: &mut State,
    request: &Request<Incoming>,
    target: &str,
    address: SocketAddr,
    fault: Option<&Fault>,
) -> Result<Response<Pieces>, Response<Pieces>> {
    let clock = now() + state.clock_ahead_s;
    let refusal = |status, kind: &str, detail: &str| problem(clock, status, kind, detail, None);
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let origin =
        state.settings.behind.as_ref().map_or_else(|| format!("http\t{address}"), |host| format!("https\t{host}"));
    match signature::check(&state.settings.credentials, &origin, target, header, clock) {
        Ok(nonce) if state.nonces.insert(nonce.clone()) => {}
        Err(Refusal::InvalidTimestamp) => return Err(refusal(400, "-/pep-authn/request-error", "Invalid timestamp")),
        _ => return Err(refusal(401, "-/pep-authn/deny", "The signature does not match")),
    }
    match fault {
        Some(Fault::Status(status, retry_after)) => {
            return Err(problem(
                clock,
                *status,
                match status {
                    401 => "-/pep-authn/deny",
                    403 => "siem/v1/unauthorized",
                    404 => "siem/v1/not-found",
                    416 => "siem/v1/offset-too-old",
                    429 => "siem/v1/too-many-requests",
                    503 => "siem/v1/service-unavailable",
                    500.. => "siem/v1/error",
                    _ => "siem/v1/missing-parameters",
                },
                "As the test ordered",
                retry_after.as_deref(),
            ));
        }
        Some(Fault::Html(status)) => {
            let body = whole(b"<html><body>Bad gateway</body></html>".to_vec());
            return Ok(head(clock, *status).header("content-type", "text/html").body(body).unwrap());
        }
        Some(Fault::Redirect(to)) => {
            return Ok(head(clock, 302).header("location", to).body(whole(Vec::new())).unwrap());
        }
        _ => {}
    }
    if let Some(kind) = state.habits.portal {
        let body = whole(b"<!doctype html>\n<html>\n<body>Please log in</body>\n</html>\n".to_vec());
        return Ok(head(clock, 200).header("content-type", kind).body(body).unwrap());
    }
    if state.habits.limit_served.is_some_and(|limit| limit_of(target) > limit) {
        return Err(refusal(503, "siem/v1/service-unavailable", "Too much to do"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some(ids) = path.strip_prefix("/siem/v1/configs/") else {
        return Err(refusal(404, "siem/v1/not-found", "There is no such object"));
    };
    let ids = ids.replace("%3B", ";").replace("%3b", ";");
    if let Some((refused, status)) = &state.habits.refused
        && ids.split(';').any(|id| id == refused)
    {
        return Err(refusal(*status, "siem/v1/unauthorized", "The user may not read this configuration"));
    }
    if !ids.split(';').all(|id| state.settings.config_ids.split(';').any(|known| known == id)) {
        return Err(refusal(403, "siem/v1/unauthorized", "The user may not read this configuration"));
    }
    let page = select(state, query, &ids, clock)
        .map_err(|(status, kind)| refusal(status, kind, "The parameters are not accepted"))?;
    let gzip =
        request.headers().get("accept-encoding").is_some_and(|value| value.to_str().unwrap_or("").contains("gzip"));
    Ok(page_answer(state, clock, page, fault, gzip && state.settings.gzip))
}

/// A page: which events, and where the next one begins.
struct Page {
    lines: Box<dyn Iterator<Item = String> + Send>,
    count: u64,
    offset: String,
    limit: u64,
    full: bool,
}

fn select(state: &mut State, query: &str, config_ids: &str, clock: i64) -> Result<Page, (u16, &'static str)> {
    const MISSING: (u16, &str) = (400, "siem/v1/missing-parameters");
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| value(name).map(|text| text.parse::<i64>().map_err(|_| MISSING)).transpose();
    let limit = u64::try_from(number("limit")?.unwrap_or(10_000)).map_err(|_| MISSING)?;
    if limit == 0 || limit > 600_000 {
        return Err(MISSING);
    }
    let limit = state.settings.limit_max.map_or(limit, |max| limit.min(max));
    let newest = clock - NEWEST_S;
    let (first, last) = match (value("offset"), number("from")?) {
        (Some(_), Some(_)) | (None, None) => return Err(MISSING),
        (Some("NULL"), None) => (0, newest),
        (Some(offset), None) => (position(offset, config_ids, state, clock)?, newest),
        (None, Some(from)) => {
            let to = number("to")?.unwrap_or(newest);
            if from > to || to > newest + 1 || from < clock - RETENTION_S - 60 {
                return Err(MISSING);
            }
            (state.events.partition_point(|(stored, _)| *stored < from), to)
        }
    };
    let room = usize::try_from(limit).unwrap() + state.settings.overshoot;
    if let Some(bulk) = state.settings.bulk {
        // One page holds them all: behind an offset there is nothing more.
        let count = if value("offset").is_some() { 0 } else { bulk };
        let lines = Box::new((0..count).map(move |number| samples::line(number, clock - 60)));
        return Ok(Page { lines, count, offset: offset(state, 0, config_ids, clock), limit, full: count >= limit });
    }
    let lines: Vec<String> = state.events[first..]
        .iter()
        .take_while(|(stored, _)| *stored <= last)
        .take(room)
        .map(|(_, line)| line.clone())
        .collect();
    let (count, next) = (lines.len() as u64, first + lines.len());
    let offset = offset(state, next, config_ids, clock);
    Ok(Page { lines: Box::new(lines.into_iter()), count, offset, limit, full: count >= limit })
}

/// A new offset that points behind so many events.
fn offset(state: &mut State, next: usize, config_ids: &str, clock: i64) -> String {
    state.offsets += 1;
    let token = format!("{next}|{clock}|{}|{config_ids}", state.offsets);
    format!("7{next:x};{}", URL_SAFE_NO_PAD.encode(token))
}

/// Where an offset points: it holds position, time and config ids. One that no answer gave is a bad parameter.
fn position(offset: &str, config_ids: &str, state: &State, clock: i64) -> Result<usize, (u16, &'static str)> {
    let read = || {
        let offset = offset.replace("%3B", ";").replace("%3b", ";");
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(offset.split_once(';')?.1).ok()?).ok()?;
        let mut parts = text.splitn(4, '|');
        let (position, made) = (parts.next()?.parse::<usize>().ok()?, parts.next()?.parse::<i64>().ok()?);
        let number = parts.next()?.parse::<u64>().ok()?;
        (parts.next()? == config_ids).then_some((position, made, number))
    };
    match read() {
        None => Err((400, "siem/v1/missing-parameters")),
        Some((_, made, number)) if made < clock - RETENTION_S || number <= state.expired => {
            Err((state.habits.expired_status.unwrap_or(416), "siem/v1/offset-too-old"))
        }
        Some((position, ..)) if position > state.events.len() => Err((400, "siem/v1/missing-parameters")),
        Some((position, ..)) => Ok(position),
    }
}

fn page_answer(state: &State, clock: i64, page: Page, fault: Option<&Fault>, gzip: bool) -> Response<Pieces> {
    let more = if let Some(Fault::TotalTooHigh(more)) = fault { *more } else { state.habits.total_too_high };
    let last = match fault {
        Some(Fault::NoContext) => String::new(),
        Some(Fault::BadOffsetTail) => "Bad offset, expired data requested\n".into(),
        _ => context_line(state.settings.shape, &page, page.count + more),
    };
    let garbage = (fault == Some(&Fault::GarbageLine)).then(|| "this is no JSON\n".to_owned());
    let lines = garbage.into_iter().chain(page.lines.map(|line| line + "\n")).chain([last]);
    let answer = head(clock, 200).header("content-type", "application/json");
    if state.settings.bulk.is_some() {
        return answer.body(Pieces::new(batches(lines))).unwrap();
    }
    let mut body: Vec<u8> = lines.collect::<String>().into_bytes();
    if let Some(Fault::EndsAfter(at)) = fault {
        body.truncate(*at);
    }
    let zipped = gzip || matches!(fault, Some(Fault::CutGzip(_)));
    if zipped {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&body).unwrap();
        body = encoder.finish().unwrap();
    }
    let pieces: VecDeque<io::Result<Bytes>> = match fault {
        // Something on the way lets no more through.
        Some(Fault::AtMost(bytes)) if body.len() <= *bytes => [Ok(body.into())].into(),
        Some(Fault::CutAfter(at) | Fault::CutGzip(at) | Fault::AtMost(at)) => {
            body.truncate(*at);
            [Ok(body.into()), Err(io::ErrorKind::ConnectionReset.into())].into()
        }
        Some(Fault::Trickle(size, pause)) => {
            let pause = *pause;
            let pieces: Vec<Bytes> = body.chunks(*size).map(Bytes::copy_from_slice).collect();
            let slow = pieces.into_iter().inspect(move |_| std::thread::sleep(pause)).map(Ok);
            return encoding(answer, zipped).body(Pieces::new(slow)).unwrap();
        }
        _ => [Ok(body.into())].into(),
    };
    encoding(answer, zipped).body(Pieces::new(pieces.into_iter())).unwrap()
}

fn encoding(answer: hyper::http::response::Builder, gzip: bool) -> hyper::http::response::Builder {
    if gzip { answer.header("content-encoding", "gzip") } else { answer }
}

/// Lines gathered into pieces of some 64 kB.
fn batches(mut lines: impl Iterator<Item = String>) -> impl Iterator<Item = io::Result<Bytes>> {
    std::iter::from_fn(move || {
        let mut piece = String::new();
        for line in lines.by_ref() {
            piece.push_str(&line);
            if piece.len() > 64 << 10 {
                break;
            }
        }
        (!piece.is_empty()).then(|| Ok(Bytes::from(piece)))
    })
}

fn context_line(shape: ContextShape, page: &Page, total: u64) -> String {
    let (offset, limit) = (&page.offset, page.limit);
    let line = match shape {
        ContextShape::BlanksWithoutLimit => format!("{{ \"total\": {total}, \"offset\":\"{offset}\" }}"),
        ContextShape::LimitOnlyWhenFull if !page.full => json!({"total": total, "offset": offset}).to_string(),
        ContextShape::OffsetFirst => json!({"offset": offset, "total": total, "limit": limit}).to_string(),
        ContextShape::LimitNull => json!({"total": total, "offset": offset, "limit": null}).to_string(),
        ContextShape::EmptyOffsetWhenNothing if total == 0 => json!({"offset": "", "total": 0}).to_string(),
        _ => json!({"total": total, "offset": offset, "limit": limit}).to_string(),
    };
    line + "\n"
}

fn head(clock: i64, status: u16) -> hyper::http::response::Builder {
    let time = jiff::Timestamp::from_second(clock).unwrap();
    Response::builder().status(status).header("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

fn whole(body: Vec<u8>) -> Pieces {
    Pieces::new(std::iter::once(Ok(Bytes::from(body))))
}

fn problem(clock: i64, status: u16, kind: &str, detail: &str, retry_after: Option<&str>) -> Response<Pieces> {
    let title = match status {
        400 => "Bad request",
        401 => "Not authorized",
        403 => "Unauthorized",
        404 => "Not found",
        416 => "Expired offset parameter in the request",
        429 => "Too many requests",
        _ => "Error",
    };
    let body = json!({"type": format!("https://problems.example.net/{kind}"), "title": title, "detail": detail,
        "method": "GET", "serverIp": "192.0.2.1", "clientIp": "192.0.2.2", "requestId": "1234abcd"});
    let mut answer = head(clock, status).header("content-type", "application/problem+json");
    if let Some(retry_after) = retry_after {
        answer = answer.header("retry-after", retry_after);
    }
    answer.body(whole(body.to_string().into_bytes())).unwrap()
}
