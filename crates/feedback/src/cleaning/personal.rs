//! Personal data in texts: what kind and where, never what it says.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::checksums::{chinese_id, iban, luhn};

/// A place in a text that holds personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Personal {
    pub(super) kind: Kind,
    /// Bytes of the text.
    pub(super) range: Range<usize>,
}

/// What kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ChineseId,
    Iban,
    Card,
    Email,
    Address,
    Phone,
}

/// How many bytes of what looks like it are it.
type Length = fn(&str) -> usize;

/// What looks like it, and how much of that is it. Later ones don't look where earlier ones found something.
static KINDS: LazyLock<[(Kind, Regex, Length); 6]> = LazyLock::new(|| {
    let rule = |rule: &str| Regex::new(rule).expect("the expression is a constant");
    [
        (Kind::ChineseId, rule(r"[1-9][0-9]{16}[0-9Xx]"), |it| {
            all_if(it, chinese_id(it.as_bytes()))
        }),
        (Kind::Iban, rule(IBAN), iban_length),
        (Kind::Card, rule(CARD), |it| all_if(it, luhn(&digits(it)))),
        (Kind::Email, rule(EMAIL), |it| all_if(it, !is_reserved(it))),
        (Kind::Address, rule(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"), |it| all_if(it, is_somebodys(it))),
        (Kind::Phone, rule(PHONE), |it| all_if(it, is_phone(it))),
    ]
});

const IBAN: &str = r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?";
/// In groups of four; as American Express groups; in one piece.
const CARD: &str = r"(?x)
    [2-6][0-9]{3}(?:[\x20-][0-9]{4}){3} | 3[47][0-9]{2}[\x20-][0-9]{6}[\x20-][0-9]{5} | [2-6][0-9]{12,18}";
const EMAIL: &str =
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}";
/// International; North American; Chinese mobiles; numbers that begin with 0 and are grouped.
const PHONE: &str = r"(?x)
    (?:\+|00)[1-9](?:[\x20./-]?\(?[0-9]\)?){7,14}
  | (?:1[\x20.-])?(?:\([2-9][0-9]{2}\)\x20?|[2-9][0-9]{2}[\x20.-])[2-9][0-9]{2}[\x20.-][0-9]{4}
  | 1[3-9][0-9](?:[0-9]{8}|[\x20-][0-9]{4}[\x20-][0-9]{4})
  | 0[1-9](?:[\x20.][0-9]{2}){4}
  | \(?0[1-9][0-9]{1,3}\)?[\x20/-][0-9]{3,4}[\x20-]?[0-9]{3,5}";

/// The personal data in a text, in the order of their places.
pub(super) fn found(text: &str) -> Vec<Personal> {
    let mut found: Vec<Personal> = Vec::new();
    if !text.bytes().any(|it| it == b'@' || it.is_ascii_digit()) {
        return found;
    }
    for (kind, rule, length) in KINDS.iter() {
        let looks_like =
            rule.find_iter(text).map(|it| it.start()..it.start() + length(it.as_str()));
        let new: Vec<Range<usize>> = looks_like
            .filter(|it| !it.is_empty() && stands_alone(*kind, text, it) && is_free(&found, it))
            .collect();
        found.extend(new.into_iter().map(|range| Personal { kind: *kind, range }));
        found.sort_by_key(|it| it.range.start);
    }
    found
}

impl Personal {
    /// What it is, where, characters counted from 0, and its first character.
    pub(super) fn described(&self, text: &str) -> String {
        let start = text[..self.range.start].chars().count();
        let first = text[self.range.clone()].chars().next().unwrap_or('*');
        let at = if self.kind == Kind::Email { "@…" } else { "" };
        format!("{} at character {start} ({first}***{at})", self.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChineseId => "Chinese citizen's number",
            Self::Iban => "IBAN",
            Self::Card => "card number",
            Self::Email => "e-mail address",
            Self::Address => "IP address",
            Self::Phone => "phone number",
        })
    }
}

/// Whether no part of a range is taken; those taken stand in order.
fn is_free(taken: &[Personal], range: &Range<usize>) -> bool {
    let next = taken.partition_point(|it| it.range.end <= range.start);
    taken.get(next).is_none_or(|it| range.end <= it.range.start)
}

/// Whether it is no part of a longer number, name or sum.
fn stands_alone(kind: Kind, text: &str, range: &Range<usize>) -> bool {
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    let (last, next) = (before.next(), after.next());
    let is_digit = |it: Option<char>| it.is_some_and(|it| it.is_ascii_digit());
    let joins = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let begins_inside = last.is_some_and(|it| {
        joins(it) || "+-.,$€£#=".contains(it) || (it == '/' && kind != Kind::Address)
    });
    let ends_inside = next.is_some_and(|it| joins(it) || it == '%');
    let goes_on = next.is_some_and(|it| ".,-/".contains(it)) && is_digit(after.next());
    // Nobody is called by a row of numbers.
    let is_in_row = kind == Kind::Phone
        && ((last == Some(' ') && is_digit(before.next()))
            || (next == Some(' ') && is_digit(text[range.end..].chars().nth(1))));
    !begins_inside && !ends_inside && !goes_on && !is_in_row
}

fn all_if(text: &str, is: bool) -> usize {
    if is { text.len() } else { 0 }
}

/// Characters of an IBAN by country (IBAN registry).
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 \
    EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IS26 IT27 JO30 KW30 KZ20 LB28 LI21 LT20 \
    LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 \
    TN24 TR26 UA29 VG24 XK20";

/// The bytes of an IBAN that begins here; 0 if there is none.
fn iban_length(text: &str) -> usize {
    let countries = IBAN_LENGTHS.split_whitespace();
    let lengths = countries.filter_map(|it| it.strip_prefix(&text[..2])?.parse::<usize>().ok());
    let end_of = |length: usize| {
        let characters = text.bytes().enumerate().filter(|(_, it)| *it != b' ').take(length);
        let (places, characters): (Vec<usize>, Vec<u8>) = characters.unzip();
        (characters.len() == length && iban(&characters)).then(|| places[length - 1] + 1)
    };
    lengths.filter_map(end_of).next().unwrap_or(0)
}

fn digits(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_digit).map(|it| it - b'0').collect()
}

/// Names for examples (RFC 2606).
fn is_reserved(email: &str) -> bool {
    let domain = email.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let labels: Vec<&str> = domain.split('.').rev().collect();
    matches!(labels[..], ["com" | "net" | "org", "example", ..])
        || ["example", "invalid", "test", "localhost", "local"].contains(&labels[0])
}

/// Whether an address leads to somebody's machine, not to a network of one's own, an example or a public service.
fn is_somebodys(address: &str) -> bool {
    const SERVICES: [[u8; 4]; 5] =
        [[1, 1, 1, 1], [1, 0, 0, 1], [8, 8, 8, 8], [8, 8, 4, 4], [9, 9, 9, 9]];
    let Ok(address) = address.parse::<Ipv4Addr>() else { return false };
    let first = address.octets()[0];
    // Versions of programs look like addresses; their first number is small.
    (11..224).contains(&first)
        && !address.is_private()
        && !address.is_loopback()
        && !address.is_link_local()
        && !address.is_documentation()
        && !SERVICES.contains(&address.octets())
}

/// Whether it has as many digits as a number has, and isn't one for everybody: toll-free, or 555 of American films.
fn is_phone(text: &str) -> bool {
    let digits = digits(text);
    let is_mobile = text.len() > 10 && text.starts_with("1") && text.as_bytes()[1] > b'2';
    let american = digits.strip_prefix(&[1]).unwrap_or(&digits);
    let is_for_all = american.len() == 10
        && !text.starts_with('0')
        && (american[..3] == [5, 5, 5]
            || american[3..6] == [5, 5, 5]
            || (american[0] == 8 && (american[1] == 0 || american[1] == american[2])));
    (8..=15).contains(&digits.len()) && (is_mobile || !is_for_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        found(text).into_iter().map(|it| it.kind).collect()
    }

    #[test]
    fn personal_data_is_found_in_any_script() {
        let of = [
            (Kind::Email, "Write to john.doe+x@mail.uni-ulm.de."),
            (Kind::Email, "联系我：zhang@qq.com，谢谢"),
            (Kind::Phone, "Call +49 30 901820-15 today"),
            (Kind::Phone, "+1 (212) 736-5000"),
            (Kind::Phone, "+8613812345678"),
            (Kind::Phone, "my number is (212) 736-5000, ok?"),
            (Kind::Phone, "1-212-736-5000"),
            (Kind::Phone, "212.736.5000"),
            (Kind::Phone, "我的手机号是13812345678。"),
            (Kind::Phone, "电话010-62345678"),
            (Kind::Phone, "01 42 34 56 78"),
            (Kind::Phone, "020 7946 0123"),
            (Kind::Address, "I log in from 93.184.216.34:22"),
            (Kind::Address, "http://93.184.216.34/a"),
            (Kind::Card, "4111 1111 1111 1111 12/27"),
            (Kind::Card, "3782-822463-10005"),
            (Kind::Card, "5555555555554444."),
            (Kind::Iban, "DE89 3704 0044 0532 0130 00"),
            (Kind::Iban, "to GB29NWBK60161331926819 please"),
            (Kind::Iban, "AT61 1904 3002 3457 3201 IS mine"),
            (Kind::ChineseId, "身份证号11010519491231002X"),
        ];
        for (kind, text) in of {
            assert_eq!(kinds(text), [kind], "{text}");
        }
    }

    #[test]
    fn numbers_that_are_nobodys_are_passed_over() {
        let texts = [
            "In 1999-2000, from 2019-10-20 to 20.10.2019, at 10:30:00.",
            "12345678 and 1234567890 and 3.14159265358979 and 1,234,567,890",
            "someone@example.com, a@b, @name, user@host.test",
            "127.0.0.1 192.168.1.1 10.0.0.7 255.255.255.0 192.0.2.7 8.8.8.8 999.1.1.1 1.2.3.4.5",
            "Version 1.2.3.4",
            "4111 1111 1111 1112",
            "DE89 3704 0044 0532 0130 01",
            "110105194912310021",
            "Call 1-800-273-8255 or 800-273-8255 or (555) 736-5000 or 212-555-0100.",
            "01 02 03 04 05 06 07 08",
            "a1b2c3d4e5f613812345678",
            "ISBN 978-3-16-148410-0",
            "1700000000000 ms, 13812345678901234",
            "https://x.org/13812345678/",
        ];
        for text in texts {
            assert_eq!(kinds(text), [], "{text}");
        }
    }

    #[test]
    fn what_is_told_is_masked() {
        let text = "我: john@uni-ulm.de, +49 30 901820";
        let told: Vec<String> = found(text).iter().map(|it| it.described(text)).collect();
        assert_eq!(
            told,
            ["e-mail address at character 3 (j***@…)", "phone number at character 20 (+***)"]
        );
    }

    #[test]
    fn many_places_take_linear_time() {
        let text = "a@b.de, 13812345678; ".repeat(20_000);
        assert_eq!(found(&text).len(), 40_000);
    }
}
