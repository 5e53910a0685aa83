//! Values into the text of a configuration, PURE: what is not set stays as it is, byte for byte, comments included.

use super::ini::plain_key;

/// The text with these values in `section`: in the place of those that are there, else behind the section's header; a section
/// that is missing comes to the end. Values must hold no line breaks. The keys of `without` are taken out of the section.
pub fn with_values(text: &str, section: &str, values: &[(&str, String)], without: &[&str]) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
    }
    let header = lines.iter().position(|line| header_of(line) == Some(section));
    let header = header.unwrap_or_else(|| {
        if !lines.is_empty() {
            lines.push("\n".into());
        }
        lines.push(format!("[{section}]\n"));
        lines.len() - 1
    });
    let mut inside = false;
    let mut at = 0;
    lines.retain(|line| {
        inside = at == header || inside && header_of(line).is_none();
        at += 1;
        !inside || !key_of(line).is_some_and(|key| without.contains(&key.as_str()))
    });
    let mut next = header + 1;
    for (key, value) in values {
        let line = format!("{key} = {value}\n");
        let end = lines[header + 1..]
            .iter()
            .position(|line| header_of(line).is_some())
            .map_or(lines.len(), |at| header + 1 + at);
        match (header + 1..end).find(|at| key_of(&lines[*at]).is_some_and(|found| found == *key)) {
            Some(at) => {
                lines[at] = line;
                next = next.max(at + 1);
            }
            None => {
                lines.insert(next, line);
                next += 1;
            }
        }
    }
    lines.concat()
}

fn header_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

fn key_of(line: &str) -> Option<String> {
    let line = line.trim_start();
    if line.starts_with([';', '#']) { None } else { line.split_once(['=', ':']).map(|(key, _)| plain_key(key.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_where_they_belong_and_the_rest_stays() {
        let text = "; c\n[default]\nHost = old\n;host = x\nlimit = 5\n\n[b]\nhost = b\n";
        assert_eq!(
            with_values(text, "default", &[("host", "new==".into()), ("config_id", "7;8".into())], &["limit"]),
            "; c\n[default]\nhost = new==\nconfig_id = 7;8\n;host = x\n\n[b]\nhost = b\n"
        );
        assert_eq!(with_values("[a]\nx = 1", "b", &[("host", "h".into())], &[]), "[a]\nx = 1\n\n[b]\nhost = h\n");
        assert_eq!(
            with_values("[a]\nHost: x\nclient-token: y\n", "a", &[("host", "h".into())], &["client_token"]),
            "[a]\nhost = h\n"
        );
        assert_eq!(with_values("", "b", &[("host", "h".into())], &["x"]), "[b]\nhost = h\n");
    }
}
