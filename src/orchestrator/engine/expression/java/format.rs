//! `String.format` and `SimpleDateFormat`, as far as pipelines use them.

use super::super::Datum;
use super::super::datum::Style;
use super::super::error::Problem;
use super::super::eval::Machine;
use super::super::method;
use super::real;

/// Widest field of a format. Wider is a mistake or an attack.
const WIDTH: usize = 1_000;

/// `%s %d %f %x %X %c %b %n %%` with flags `-`, `0`, `+`, `,`, a width, a precision and `1$`.
pub fn format(machine: &Machine<'_, '_>, pattern: &str, values: &[Datum<'_>]) -> Result<String, Problem> {
    // A list as the only value is the values, as with Java's variable arguments.
    let spread = match values {
        [one] if one.is_list() => one.items(),
        _ => None,
    };
    let values = spread.as_deref().unwrap_or(values);
    let mut made = String::new();
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        let (field, after) = Field::read(&rest[at + 1..])?;
        rest = after;
        match field.letter {
            '%' => made.push('%'),
            'n' => made.push('\n'),
            _ => {
                let index = field.index.unwrap_or(next);
                next += usize::from(field.index.is_none());
                let value = values.get(index).ok_or_else(|| Problem::unfit("the format asks for more values than there are"))?;
                let text = field.write(machine, value)?;
                machine.budget.room(text.len())?;
                made.push_str(&text);
            }
        }
    }
    made.push_str(rest);
    machine.budget.room(made.len())?;
    Ok(made)
}

struct Field {
    index: Option<usize>,
    left: bool,
    zero: bool,
    plus: bool,
    comma: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl Field {
    fn read(text: &str) -> Result<(Self, &str), Problem> {
        let bad = || Problem::unfit("the format is not understood after '%'");
        let number = |text: &str| {
            let length = text.bytes().take_while(u8::is_ascii_digit).count();
            (text[..length].parse::<usize>().ok(), length)
        };
        let mut rest = text;
        let mut index = None;
        if let (Some(n), length) = number(rest)
            && let Some(after) = rest[length..].strip_prefix('$')
        {
            index = Some(n.checked_sub(1).ok_or_else(bad)?);
            rest = after;
        }
        let flags = &rest[..rest.len() - rest.trim_start_matches(['-', '0', '+', ',']).len()];
        rest = &rest[flags.len()..];
        let (width, length) = number(rest);
        rest = &rest[length..];
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let (n, length) = number(after);
            precision = Some(n.ok_or_else(bad)?);
            rest = &after[length..];
        }
        let letter = rest.chars().next().ok_or_else(bad)?;
        let has = |flag: char| flags.contains(flag);
        let field =
            Self { index, left: has('-'), zero: has('0'), plus: has('+'), comma: has(','), width: width.unwrap_or(0), precision, letter };
        if field.width > WIDTH || field.precision.is_some_and(|p| p > WIDTH) {
            return Err(Problem::unfit("the format asks for too wide a field"));
        }
        Ok((field, &rest[letter.len_utf8()..]))
    }

    fn write(&self, machine: &Machine<'_, '_>, value: &Datum<'_>) -> Result<String, Problem> {
        let digits = match self.letter {
            's' | 'S' | 'b' | 'c' => {
                let text = machine.text(value, Style::Java)?;
                let text: String = self.precision.map_or(text.clone(), |most| text.chars().take(most).collect());
                return Ok(self.pad(if self.letter == 'S' { text.to_uppercase() } else { text }, false));
            }
            'd' => {
                let n = method::whole(value)?;
                let digits = n.unsigned_abs().to_string();
                format!("{}{}", self.sign(n < 0), if self.comma { grouped(&digits) } else { digits })
            }
            'f' => {
                let n = real(machine, value)?;
                let digits = format!("{:.*}", self.precision.unwrap_or(6), n.abs());
                let (whole, fraction) = digits.split_once('.').map_or((digits.as_str(), ""), |(whole, _)| (whole, &digits[whole.len()..]));
                format!("{}{}{fraction}", self.sign(n < 0.0), if self.comma { grouped(whole) } else { whole.to_owned() })
            }
            'x' => format!("{:x}", method::whole(value)?),
            'X' => format!("{:X}", method::whole(value)?),
            other => return Err(Problem::unfit(format!("the format '%{other}' is not known"))),
        };
        Ok(self.pad(digits, true))
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        }
    }

    fn pad(&self, text: String, number: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.left {
            return text + &" ".repeat(missing);
        }
        if number && self.zero {
            let sign = text.len() - text.trim_start_matches(['-', '+']).len();
            return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
        }
        " ".repeat(missing) + &text
    }
}

/// With commas between thousands.
fn grouped(digits: &str) -> String {
    let lead = digits.len() % 3;
    let mut made = digits[..lead].to_owned();
    for at in (lead..digits.len()).step_by(3) {
        if !made.is_empty() {
            made.push(',');
        }
        made.push_str(&digits[at..at + 3]);
    }
    made
}

/// A date in the form of `SimpleDateFormat`, in the scope's zone.
pub fn date(machine: &Machine<'_, '_>, pattern: &str, at: jiff::Timestamp) -> Result<String, Problem> {
    machine.budget.room(pattern.len().saturating_mul(16))?;
    let at = at.to_zoned(machine.scope.zone());
    let mut made = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = &rest[1..];
            let Some((quoted, after)) = rest.split_once('\'') else {
                return Err(Problem::unfit("a quote of the date format is not closed"));
            };
            made.push_str(if quoted.is_empty() { "'" } else { quoted });
            rest = after;
            continue;
        }
        let length = rest.len() - rest.trim_start_matches(c).len();
        rest = &rest[length..];
        let n = length / c.len_utf8();
        if !c.is_ascii_alphabetic() {
            made.extend(std::iter::repeat_n(c, n));
            continue;
        }
        let padded = |value: i64| format!("{value:0n$}", n = n.min(WIDTH));
        let hour = i64::from(at.hour());
        let text = match c {
            'y' if n == 2 => format!("{:02}", at.year().rem_euclid(100)),
            'y' => padded(at.year().into()),
            'Y' => padded(at.date().iso_week_date().year().into()),
            'M' | 'L' if n >= 4 => at.strftime("%B").to_string(),
            'M' | 'L' if n == 3 => at.strftime("%b").to_string(),
            'M' | 'L' => padded(at.month().into()),
            'd' => padded(at.day().into()),
            'D' => padded(at.day_of_year().into()),
            'w' => padded(at.date().iso_week_date().week().into()),
            'u' => padded(at.weekday().to_monday_one_offset().into()),
            'E' if n >= 4 => at.strftime("%A").to_string(),
            'E' => at.strftime("%a").to_string(),
            'a' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'H' => padded(hour),
            'k' => padded(if hour == 0 { 24 } else { hour }),
            'K' => padded(hour % 12),
            'h' => padded(if hour % 12 == 0 { 12 } else { hour % 12 }),
            'm' => padded(at.minute().into()),
            's' => padded(at.second().into()),
            'S' => padded(at.millisecond().into()),
            'z' => at.strftime("%Z").to_string(),
            'Z' => at.strftime("%z").to_string(),
            'X' if at.offset().is_zero() => "Z".to_owned(),
            'X' if n == 2 => at.strftime("%z").to_string(),
            'X' => at.strftime("%:z").to_string(),
            other => return Err(Problem::unfit(format!("the date format '{other}' is not known"))),
        };
        made.push_str(&text);
    }
    Ok(made)
}
