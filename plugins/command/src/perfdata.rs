//! The figures after the `|`: `'label'=value[unit];warn;critical;min;max`, with
//! blanks between them.

use hostler_plugin_sdk::Sample;

#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub label: String,
    pub value: f64,
    pub unit: String,
}

/// Those that can be read: a plugin that says one thing wrong is still heard.
pub fn read(text: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (label, after) = label(rest);
        let (value, next) = after.split_at(after.find(char::is_whitespace).unwrap_or(after.len()));
        figures.extend(figure(label, value));
        rest = next.trim_start();
    }
    figures
}

/// With what follows its `=`. Within quotes, two are one.
fn label(text: &str) -> (String, &str) {
    let mut label = String::new();
    let mut quoted = false;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if quoted && letters.next_if(|(_, next)| *next == '\'').is_some() => label.push('\''),
            '\'' => quoted = !quoted,
            '=' if !quoted => return (label, text.get(at + 1..).unwrap_or_default()),
            // No figure at all: what comes next may be one.
            letter if letter.is_whitespace() && !quoted => return (String::new(), text.get(at..).unwrap_or_default()),
            letter => label.push(letter),
        }
    }
    (String::new(), "")
}

fn figure(label: String, text: &str) -> Option<Figure> {
    let text = text.split(';').next()?.replace(',', ".");
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
    let (number, unit) = text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
    let value = number.parse().ok()?;
    (!label.is_empty()).then(|| Figure { label, value, unit: unit.to_owned() })
}

/// Names of attributes may be this long, and no longer.
const LABEL_BYTES_MAX: usize = 128;

const MIB: f64 = 1_048_576.0;

impl Figure {
    /// In the units that graphs are in.
    pub fn sample(&self) -> Sample {
        let (name, factor) = match self.unit.as_str() {
            "s" => ("command_seconds", 1.0),
            "ms" => ("command_seconds", 1e-3),
            "us" => ("command_seconds", 1e-6),
            "B" => ("command_bytes", 1.0),
            "KB" | "kB" | "KiB" => ("command_bytes", 1024.0),
            "MB" | "MiB" => ("command_bytes", MIB),
            "GB" | "GiB" => ("command_bytes", MIB * 1024.0),
            "TB" | "TiB" => ("command_bytes", MIB * MIB),
            "%" => ("command_percent", 1.0),
            "c" => ("command_total", 1.0),
            _ => ("command_value", 1.0),
        };
        let label = self.label.get(..self.label.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or_default();
        let value = self.value * factor;
        let sample = if self.unit == "c" { Sample::counter(name, value) } else { Sample::gauge(name, value) };
        sample.attr("label", label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Vec<(String, f64, String)> {
        read(text).into_iter().map(|one| (one.label, one.value, one.unit)).collect()
    }

    #[test]
    fn figures_are_read() {
        let one = |label: &str, value: f64, unit: &str| (label.to_owned(), value, unit.to_owned());
        assert_eq!(says("time=0.041s;1;2;0 size=12KB"), [one("time", 0.041, "s"), one("size", 12.0, "KB")]);
        assert_eq!(says("/=2643MB;5948;5958;0;5968 "), [one("/", 2643.0, "MB")]);
        assert_eq!(says("'free space'=-3 'it''s = x'=1,5%"), [one("free space", -3.0, ""), one("it's = x", 1.5, "%")]);
        assert_eq!(says("word a=U b= =1 c=7c\td='x"), [one("c", 7.0, "c")]);
        assert_eq!(says("'open=1"), []);
        assert_eq!(says(""), []);
    }

    #[test]
    fn units_are_those_of_graphs() {
        for (text, name, value) in [
            ("a=5ms", "command_seconds", 0.005),
            ("a=2KB", "command_bytes", 2048.0),
            ("a=1GB", "command_bytes", 1_073_741_824.0),
            ("a=40%", "command_percent", 40.0),
            ("a=3c", "command_total", 3.0),
            ("a=3", "command_value", 3.0),
            ("a=3rpm", "command_value", 3.0),
        ] {
            let samples: Vec<Sample> = read(text).iter().map(Figure::sample).collect();
            assert!(matches!(samples.as_slice(), [one] if one.name == name && one.value == value), "{samples:?}");
        }
    }
}
