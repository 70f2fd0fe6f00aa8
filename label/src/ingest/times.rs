//! Times as exports write them, to milliseconds since 1970 UTC.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// How a column writes times.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Form {
    /// RFC 3339, or the same without a zone, which is then UTC.
    Iso,
    /// Seconds, or milliseconds, since 1970.
    Unix { per_second: f64 },
    /// `Tue May 10 01:40:30 PDT 2022`.
    Mturk,
    /// strptime's letters, parsed once; without `%z` it is UTC.
    Pattern(Vec<Item<'static>>, Option<Digits>),
}

impl Form {
    /// From a mapping: `iso`, `unix`, `unix-ms`, `mturk` or a pattern with `%`.
    pub(super) fn of(text: &str) -> Result<Form, String> {
        match text {
            "iso" => Ok(Form::Iso),
            "unix" => Ok(Form::Unix { per_second: 1.0 }),
            "unix-ms" => Ok(Form::Unix { per_second: 1000.0 }),
            "mturk" => Ok(Form::Mturk),
            // A letter that chrono does not know shows up here, not at the first row.
            pattern if pattern.contains('%') => match StrftimeItems::new(pattern).parse_to_owned() {
                Ok(items) => Ok(Form::Pattern(items, Digits::of(pattern))),
                Err(_) => Err(format!("{pattern:?} has a letter after % that strptime does not know")),
            },
            other => Err(format!("{other:?} is no form of time: iso, unix, unix-ms, mturk, or a pattern such as \"%m/%d/%Y %H:%M:%S\"")),
        }
    }

    /// Milliseconds since 1970 UTC.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        let text = text.trim();
        match self {
            Form::Iso => DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).ok().or_else(|| {
                let bare =
                    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"].iter().find_map(|p| NaiveDateTime::parse_from_str(text, p).ok());
                bare.map(|time| time.and_utc().timestamp_millis())
            }),
            Form::Unix { per_second } => {
                text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| (x * 1000.0 / per_second).round() as i64)
            }
            Form::Mturk => mturk(text),
            Form::Pattern(items, digits) => {
                if let Some(time) = digits.as_ref().and_then(|digits| digits.parse(text)) {
                    return Some(time);
                }
                let mut parsed = Parsed::new();
                chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
                if parsed.offset().is_some() {
                    return parsed.to_datetime().ok().map(|time| time.timestamp_millis());
                }
                let day = || parsed.to_naive_date().ok()?.and_hms_opt(0, 0, 0);
                parsed.to_naive_datetime_with_offset(0).ok().or_else(day).map(|time| time.and_utc().timestamp_millis())
            }
        }
    }
}

/// A pattern of date and time in digits, such as `%m/%d/%Y %H:%M:%S`: what most exports have, and read here in a tenth of the time. A text that has
/// not all its digits is left to chrono.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Digits(Vec<u8>);

impl Digits {
    /// The letters of the fields (in the order of [`Digits::FIELDS`]) and what stands between them; None for a pattern with anything else.
    fn of(pattern: &str) -> Option<Digits> {
        let mut parts = Vec::new();
        let mut bytes = pattern.bytes();
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                b'%' => {
                    let letter = bytes.next()?;
                    Digits::FIELDS.iter().position(|field| *field == letter)? as u8
                }
                between => between,
            });
        }
        let once = |field: &u8| parts.iter().filter(|part| *part == field).count() == 1;
        (0..6).all(|field| once(&field)).then_some(Digits(parts))
    }

    const FIELDS: [u8; 6] = *b"YmdHMS";

    fn parse(&self, text: &str) -> Option<i64> {
        let mut rest = text.as_bytes();
        let mut found = [0; 6];
        for part in &self.0 {
            let length = match part {
                0 => 4,
                1..6 => 2,
                _ => 1,
            };
            let (head, tail) = rest.split_at_checked(length)?;
            rest = tail;
            match found.get_mut(usize::from(*part)) {
                Some(field) => {
                    for digit in head {
                        *field = *field * 10 + char::from(*digit).to_digit(10)?;
                    }
                }
                None if head != [*part] => return None,
                None => {}
            }
        }
        let [year, month, day, hour, minute, second] = found;
        let time = NaiveDate::from_ymd_opt(year as i32, month, day)?.and_hms_opt(hour, minute, second)?;
        rest.is_empty().then(|| time.and_utc().timestamp_millis())
    }
}

/// Java's `Date.toString`, which Mechanical Turk writes, with the zones it is found with.
fn mturk(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, month, day, time, zone, year] = words[..] else { return None };
    let hours = match zone {
        "UTC" | "GMT" => 0,
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" | "AKDT" => -8,
        "AKST" => -9,
        "HST" => -10,
        _ => return None,
    };
    let local = NaiveDateTime::parse_from_str(&format!("{year} {month} {day} {time}"), "%Y %b %d %H:%M:%S").ok()?;
    Some(local.and_utc().timestamp_millis() - hours * 3_600_000)
}

/// Seconds between the two ends, where they are in order.
pub(super) fn between(started: Option<i64>, ended: Option<i64>) -> Option<f32> {
    let (started, ended) = (started?, ended?);
    (ended >= started).then(|| (ended - started) as f32 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_moment() {
        // 2022-05-10 08:40:30 UTC, by `date -u -d @1652172030`.
        let moment = Some(1_652_172_030_000);
        for (form, text) in [
            ("iso", "2022-05-10T08:40:30Z"),
            ("iso", "2022-05-10T01:40:30.000-07:00"),
            ("iso", " 2022-05-10 08:40:30"),
            ("unix", "1652172030"),
            ("unix-ms", "1652172030000"),
            ("mturk", "Tue May 10 01:40:30 PDT 2022"),
            ("%m/%d/%Y %H:%M:%S", "5/10/2022 08:40:30"),
            ("%Y-%m-%d %H:%M:%S %z", "2022-05-10 10:40:30 +0200"),
            ("%d.%m.%y %I:%M:%S %p", "10.05.22 08:40:30 AM"),
        ] {
            assert_eq!(Form::of(form).unwrap().parse(text), moment, "{form}: {text}");
            assert_eq!(Form::of(form).unwrap().parse("yesterday"), None, "{form}");
        }
        assert_eq!(Form::of("%d %b %Y").unwrap().parse("10 May 2022"), Some(1_652_140_800_000));
        // Digits are read without chrono, and mean the same; what has not all of them is chrono's.
        for (pattern, text) in [
            ("%m/%d/%Y %H:%M:%S", "11/28/2017 14:05:43"),
            ("%Y%m%d%H%M%S", "20171128140543"),
            ("%H:%M:%S, %d.%m.%Y", "00:00:00, 29.02.2016"),
            ("%m/%d/%Y %H:%M:%S", "1/2/2017 4:05:43"),
            ("%m/%d/%Y %H:%M:%S", "02/29/2017 14:05:43"),
            ("%m/%d/%Y %H:%M:%S", "11/28/2017 14:05:60"),
            ("%m/%d/%Y %H:%M:%S", "11/28/2017 14:05:430"),
            ("%m/%d/%Y %H:%M:%S", "11/28/2017 14:05:4"),
            ("%m/%d/%Y %H:%M:%S", "+1/28/2017 14:05:43"),
        ] {
            let chrono = NaiveDateTime::parse_from_str(text, pattern).ok().map(|time| time.and_utc().timestamp_millis());
            assert_eq!(Form::of(pattern).unwrap().parse(text), chrono, "{text}");
        }
        assert!(Digits::of("%m/%d/%Y %H:%M:%S").is_some());
        for other in ["%m/%d/%Y", "%m/%d/%y %H:%M:%S", "%m/%d/%Y %H:%M:%S %z", "%m%%d"] {
            assert!(Digits::of(other).is_none(), "{other}");
        }
        assert!(Form::of("dd.mm.yyyy").unwrap_err().contains("unix-ms"));
        assert!(Form::of("%Q").is_err());
    }
}
