//! Times as exports write them, to milliseconds since 1970 UTC.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDateTime};

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
    Pattern(Vec<Item<'static>>),
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
                Ok(items) => Ok(Form::Pattern(items)),
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
            Form::Pattern(items) => {
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
        assert!(Form::of("dd.mm.yyyy").unwrap_err().contains("unix-ms"));
        assert!(Form::of("%Q").is_err());
    }
}
