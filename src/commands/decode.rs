//! `decode`: saved lines of Akamai's API → events on stdout. Never asks Akamai.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::output::{LineOutput, OutputError};
use super::{failed, load_config, ready, select};
use crate::akamai::page::{PageLine, PageReader};
use crate::cli::{Cli, DecodeArgs};
use crate::config::Source;
use crate::event::{Bursts, EventDecoder, EventSettings};
use crate::exit::Exit;

enum DecodeError {
    Input(io::Error),
    Output(OutputError),
}

pub fn run(cli: &Cli, args: &DecodeArgs) -> Result<Exit, Exit> {
    let mut decoder = EventDecoder::new(settings(cli, args)?);
    decoder.bursts = Some(Bursts::default());
    let mut output = LineOutput::new();
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { &stdin[..] } else { &args.files };
    let mut exit = Exit::Done;
    for path in files {
        let decoded = if path == Path::new("-") {
            decode(io::stdin().lock(), &mut decoder, &mut output)
        } else {
            File::open(path).map_err(DecodeError::Input).and_then(|file| decode(file, &mut decoder, &mut output))
        };
        match decoded {
            Ok(()) => {}
            Err(DecodeError::Input(error)) => {
                exit = exit.and(failed(format!("cannot read {}: {error}", path.display())));
            }
            Err(DecodeError::Output(OutputError::Closed)) => break,
            Err(DecodeError::Output(OutputError::Failed(error))) => {
                return Err(failed(format!("cannot write to stdout: {error}")));
            }
        }
    }
    Ok(exit)
}

/// What counts without a configuration is what the configuration has by default.
fn settings(cli: &Cli, args: &DecodeArgs) -> Result<EventSettings, Exit> {
    let Some(file) = &cli.config else {
        return Ok(Source::new(args.source.as_deref().unwrap_or("default")).events);
    };
    let config = load_config(file)?;
    let selected = select(&config, args.source.as_deref(), file)?;
    let source = selected.first().and_then(|entry| ready(entry, file)).ok_or(Exit::Config)?;
    Ok(source.events.clone())
}

fn decode(input: impl Read, decoder: &mut EventDecoder, output: &mut LineOutput) -> Result<(), DecodeError> {
    let mut page = PageReader::new(input);
    let read = loop {
        match page.next_line() {
            Ok(Some(PageLine::Event(line) | PageLine::Fragment(line))) => {
                decoder.decode_into(line, &mut output.lines);
            }
            Ok(Some(PageLine::Context(_))) => {}
            Ok(Some(PageLine::Expired)) => log::warn!("the answer ends with \"Bad offset, expired data requested\""),
            Ok(None) => break Ok(()),
            Err(error) => break Err(DecodeError::Input(error)),
        }
        output.flush_if_large().map_err(DecodeError::Output)?;
    };
    output.flush().map_err(DecodeError::Output)?;
    read
}
