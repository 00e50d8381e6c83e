//! Numbers in texts, exactly.

/// A rational number in lowest terms, so that equal numbers are equal here, however they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    numerator: i128,
    denominator: i128,
}

/// Numbers with more digits aren't read.
const MAX_DIGITS: usize = 30;
/// More bytes are no box.
const MAX_BOX: usize = 4 << 10;
const CURRENCIES: [char; 4] = ['$', '€', '£', '¥'];

impl Number {
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = greatest_divisor(numerator.checked_abs()?, denominator.checked_abs()?);
        if denominator == 0 {
            return None;
        }
        let sign = denominator.signum();
        Some(Self {
            numerator: sign * (numerator / divisor),
            denominator: sign * (denominator / divisor),
        })
    }

    /// What these digits mean with the point moved by `exponent` places to the right.
    fn of_digits(digits: &str, exponent: i64) -> Option<Self> {
        let digits = digits.trim_start_matches('0');
        let n_zeros = usize::try_from(exponent.unsigned_abs()).ok()?;
        let n_digits =
            if exponent < 0 { digits.len().max(n_zeros) } else { digits.len() + n_zeros };
        if n_digits > MAX_DIGITS {
            return None;
        }
        let whole = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let power = 10_i128.checked_pow(u32::try_from(n_zeros).ok()?)?;
        if exponent < 0 { Self::new(whole, power) } else { Self::new(whole * power, 1) }
    }

    fn over(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.denominator)?;
        Self::new(numerator, self.denominator.checked_mul(other.numerator)?)
    }

    fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    fn negated(self) -> Self {
        Self { numerator: -self.numerator, ..self }
    }

    fn is_whole(self) -> bool {
        self.denominator == 1
    }
}

fn greatest_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// The number that a text gives as its answer, as it stands there: behind the last `####` (GSM8K's mark), or
/// else in the last `\boxed{}`, or else the last number of all. Signs of currencies and of percent and units
/// don't count; commas between thousands, fractions (`3/4`, `1 1/2`, `\frac{3}{4}`) and exponents do.
///
/// # Errors
/// Why there is no number: none stands there, or one of more than 30 digits.
pub fn answer(text: &str) -> Result<(Number, String), &'static str> {
    let text = plain(text);
    let (found, missing) = if let Some((_, behind)) = text.rsplit_once("####") {
        let line = behind.trim_start().lines().next().unwrap_or_default();
        (numbers(line).into_iter().next(), "no number behind the last `####`")
    } else if let Some(inside) = boxed(&text) {
        let inside = without_words(inside);
        let (_, value) = inside.rsplit_once('=').unwrap_or(("", &inside));
        (numbers(value).into_iter().next(), r"no number in the last `\boxed{}`")
    } else {
        (numbers(&text).into_iter().next_back(), "no number in the text")
    };
    let Found { number, text } = found.ok_or(missing)?;
    Ok((number.ok_or("a number that can't be read exactly")?, text))
}

/// A text with one spelling for each sign.
fn plain(text: &str) -> String {
    let text = text.replace("{,}", ",").replace(r"\$", "$").replace(r"\%", "%");
    let text = text.replace(r"\!", "").replace(r"\,", "");
    text.replace(['−', '–'], "-")
}

/// What stands in the last `\boxed{}` that is closed.
fn boxed(text: &str) -> Option<&str> {
    let (_, inside) = text.rsplit_once(r"\boxed{")?;
    closing(inside).filter(|end| *end <= MAX_BOX).map(|end| &inside[..end])
}

/// The place of the brace that closes one before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (place, sign) in text.char_indices() {
        depth += match sign {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

/// A formula without what it says in words.
fn without_words(formula: &str) -> String {
    let mut rest = formula;
    let mut kept = String::new();
    while let Some((before, inside)) = [r"\text{", r"\mathrm{", r"\mbox{"]
        .iter()
        .filter_map(|mark| rest.split_once(mark))
        .min_by_key(|it| it.0.len())
    {
        kept.push_str(before);
        rest = closing(inside).map_or("", |end| &inside[end + 1..]);
    }
    kept + rest
}

/// A number as it stands in a text; `None` where it has too many digits.
struct Found {
    number: Option<Number>,
    text: String,
}

/// The numbers of a text, from left to right. Digits within words (`x2`) are none.
fn numbers(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let (mut end, mut before) = (0, ' ');
    for (place, sign) in text.char_indices() {
        let is_inside = place < end;
        let is_binary = sign == '-' && matches!(before, ')' | '%' | '}' | ']');
        let begins_one = !(before.is_alphanumeric() || before == '_' || is_binary);
        if !is_inside && (begins_one || CURRENCIES.contains(&sign)) {
            let mut reader = Reader { rest: &text[place..] };
            if let Some(number) = reader.signed() {
                end = text.len() - reader.rest.len();
                let text = text[place..end].trim().to_owned();
                found.push(Found { number, text });
            }
        }
        before = sign;
    }
    found
}

/// Reads a number from the beginning of a text. The outer `None` is no number, the inner one a number
/// that is too long.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, mark: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(mark) else { return false };
        self.rest = rest;
        true
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// `-$1,234.50`, `$-3`, `+1/2`, `-\frac{1}{2}`
    fn signed(&mut self) -> Option<Option<Number>> {
        let is_negative = self.sign();
        let number = self.unsigned()?;
        Some(number.map(|it| if is_negative { it.negated() } else { it }))
    }

    /// Passes over signs, of a currency, too; whether the number is negative.
    fn sign(&mut self) -> bool {
        let mut is_negative = self.skip("-");
        let _ = is_negative || self.skip("+");
        if self.rest.starts_with(CURRENCIES) {
            let mut signs = self.rest.chars();
            signs.next();
            self.rest = signs.as_str();
            is_negative ^= self.skip("-");
        }
        is_negative
    }

    fn unsigned(&mut self) -> Option<Option<Number>> {
        if let Some(fraction) = self.latex_fraction() {
            return Some(fraction);
        }
        let Some(first) = self.decimal()? else { return Some(None) };
        if let Some(under) = self.behind_slash() {
            return Some(under.and_then(|under| first.over(under)));
        }
        // One and a half: `1 1/2` or `1\frac{1}{2}`.
        let mut ahead = *self;
        let part = ahead.latex_fraction().or_else(|| {
            ahead.skip(" ").then_some(())?;
            let over = ahead.decimal()?;
            let under = ahead.behind_slash()?;
            Some(over.zip(under).and_then(|(over, under)| over.over(under)))
        });
        match part.filter(|_| first.is_whole()) {
            Some(part) => {
                *self = ahead;
                Some(part.and_then(|part| first.plus(part)))
            }
            None => Some(Some(first)),
        }
    }

    /// The denominator, if one follows.
    fn behind_slash(&mut self) -> Option<Option<Number>> {
        let mut ahead = Self { rest: self.rest.trim_start_matches(' ') };
        ahead.skip("/").then_some(())?;
        ahead.rest = ahead.rest.trim_start_matches(' ');
        let under = ahead.decimal()?;
        *self = ahead;
        Some(under)
    }

    /// `\frac{1}{2}`, of decimals.
    fn latex_fraction(&mut self) -> Option<Option<Number>> {
        let mut ahead = *self;
        [r"\frac{", r"\dfrac{", r"\tfrac{"].iter().any(|mark| ahead.skip(mark)).then_some(())?;
        let is_negative = ahead.sign();
        let over = ahead.decimal()?;
        ahead.skip("}{").then_some(())?;
        let is_negative = is_negative ^ ahead.sign();
        let under = ahead.decimal()?;
        ahead.skip("}").then_some(())?;
        *self = ahead;
        let number = over.zip(under).and_then(|(over, under)| over.over(under));
        Some(number.map(|it| if is_negative { it.negated() } else { it }))
    }

    /// `1,234.5`, `.5`, `1.5e3`
    fn decimal(&mut self) -> Option<Option<Number>> {
        let mut digits = self.digits().to_owned();
        if (1..=3).contains(&digits.len()) {
            while let Some(group) = self.thousands() {
                digits.push_str(group);
            }
        }
        let mut ahead = *self;
        let fraction = if ahead.skip(".") { ahead.digits() } else { "" };
        if !fraction.is_empty() {
            *self = ahead;
        }
        if digits.is_empty() && fraction.is_empty() {
            return None;
        }
        // Zeros at the end of a fraction say nothing, and may be many.
        let fraction = fraction.trim_end_matches('0');
        let exponent = self.exponent().unwrap_or(0) - i64::try_from(fraction.len()).ok()?;
        digits.push_str(fraction);
        Some(Number::of_digits(&digits, exponent))
    }

    /// Three digits behind a comma, and no more.
    fn thousands(&mut self) -> Option<&'a str> {
        let mut ahead = *self;
        ahead.skip(",").then_some(())?;
        let group = ahead.digits();
        (group.len() == 3).then(|| *self = ahead)?;
        Some(group)
    }

    fn exponent(&mut self) -> Option<i64> {
        let mut ahead = *self;
        (ahead.skip("e") || ahead.skip("E")).then_some(())?;
        let is_negative = ahead.skip("-");
        let _ = is_negative || ahead.skip("+");
        let digits = ahead.digits();
        let ends = !ahead.rest.starts_with(|it: char| it.is_alphanumeric());
        if !(1..=2).contains(&digits.len()) || !ends {
            return None;
        }
        *self = ahead;
        let exponent: i64 = digits.parse().ok()?;
        Some(if is_negative { -exponent } else { exponent })
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use super::*;

    fn read(text: &str) -> Number {
        answer(text).unwrap_or_else(|reason| panic!("{text}: {reason}")).0
    }

    fn whole(number: i128) -> Number {
        Number { numerator: number, denominator: 1 }
    }

    #[test]
    fn spellings_of_a_number_are_one_number() {
        for (text, numerator, denominator) in [
            ("72", 72, 1),
            ("072.00", 72, 1),
            ("$1,234.50", 2469, 2),
            ("1{,}234.5", 2469, 2),
            ("-$3", -3, 1),
            ("$-3", -3, 1),
            ("−3.5", -7, 2),
            ("+.5", 1, 2),
            ("50%", 50, 1),
            ("3/4 of a pie", 3, 4),
            ("6 / 8", 3, 4),
            ("1 1/2 cups", 3, 2),
            (r"\frac{3}{4}", 3, 4),
            (r"-\dfrac{1}{2}", -1, 2),
            (r"1\frac{1}{2}", 3, 2),
            ("1.5e3", 1500, 1),
            ("2E-1", 1, 5),
            ("1.5/2", 3, 4),
            ("20 eur", 20, 1),
            ("2e", 2, 1),
        ] {
            assert_eq!(read(text), Number { numerator, denominator }, "{text}");
        }
        assert_ne!(read("0.1"), read("0.10000000000000001"), "no f64 could tell");
        let zeros: String = repeat_n('0', 500).collect();
        assert_eq!(read(&format!("7.{zeros}")), whole(7));
    }

    #[test]
    fn the_mark_goes_before_the_box_and_the_box_before_the_last_number() {
        assert_eq!(read(r"\boxed{5} and 6 #### 7 apples and 8"), whole(7));
        assert_eq!(read("#### 1\nNo:\n####\n 1,200\n9"), whole(1200));
        assert_eq!(read(r"\boxed{4}, no: $\boxed{x = \frac{10}{2} \text{ cm}^2}$ of 9"), whole(5));
        assert_eq!(read(r"\boxed{\text{in 3 days } 12 \text{ m}}"), whole(12));
        assert_eq!(read("It takes 2/2=1 bolt and 2+1=3 bolts."), whole(3));
        assert_eq!(read("x = 10-3"), whole(3), "what stands between two numbers is no sign");
        assert_eq!(read("at -3."), whole(-3));
        assert_eq!(read("72 of H2O"), whole(72), "digits in words are none");
        assert_eq!(read("1,23"), whole(23), "no thousands");
        assert_eq!(read("**18**"), whole(18));
    }

    #[test]
    fn what_is_no_number_is_told() {
        assert_eq!(answer("none"), Err("no number in the text"));
        assert_eq!(answer("5 #### none"), Err("no number behind the last `####`"));
        assert_eq!(answer(r"5 \boxed{x}"), Err(r"no number in the last `\boxed{}`"));
        assert_eq!(read(r"5 \boxed{6"), whole(6), "a box that isn't closed is none");
        let unread = Err("a number that can't be read exactly");
        assert_eq!(answer("1/0"), unread);
        let digits: String = repeat_n('7', 31).collect();
        assert_eq!(answer(&format!("5 {digits}")), unread, "nor is the one before it the answer");
        assert_eq!(answer("1e99"), unread);
        let deep = [r"\frac{", r"\boxed{", r"\text{", "####", "1 1/"].map(|it| it.repeat(100_000));
        deep.iter().for_each(|it| drop(answer(it)));
        let pieces = [
            "1", "23", ",", ".", "/", "-", "$", "%", "e", " ", "{", "}", "####", r"\frac{",
            r"\boxed{", "é",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let piece = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces[(state >> 60) as usize]
            };
            let _ = answer(&(0..9).map(piece).collect::<String>());
        }
        for odd in ["-", "$", ".", "-$", "1e", "####", r"\frac{1}{", "€", "1 /", "٣"] {
            let _ = answer(odd);
        }
    }
}
