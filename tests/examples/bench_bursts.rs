//! What counting bursts costs, for `scripts/bench`: decodes the lines of a file with and without, and prints the ratio of the
//! best times of one run. Never part of a package.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use wazuh_akamai::event::{Bursts, EventDecoder, EventSettings};

const ROUNDS: usize = 7;

fn main() {
    let text = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (counts, best) in [false, true].into_iter().zip(&mut best) {
            *best = (*best).min(decode(&text, counts));
        }
    }
    println!("{:.3}", best[1].as_secs_f64() / best[0].as_secs_f64());
}

fn decode(text: &[u8], counts: bool) -> Duration {
    let settings = EventSettings { source: "default".into(), line_bytes_max: 65_000, redact_headers: Vec::new() };
    let mut decoder = EventDecoder::new(settings);
    decoder.bursts = counts.then(Bursts::default);
    let mut out = Vec::new();
    let started = Instant::now();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        out.clear();
        decoder.decode_into(line, &mut out);
    }
    started.elapsed()
}
