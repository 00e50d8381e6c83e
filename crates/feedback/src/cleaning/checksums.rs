//! Numbers that prove themselves.

/// Luhn's check (ISO/IEC 7812-1): digits from the right, every second one doubled and its digits summed, add up to a
/// multiple of 10.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let value = |(place, digit): (usize, &u8)| {
        u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit })
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>() % 10 == 0
}

/// An IBAN's check (ISO 13616, ISO 7064): the first four characters moved to the end and letters read as 10 to 35, the
/// number is 1 modulo 97.
pub(super) fn iban(characters: &[u8]) -> bool {
    if characters.len() < 5 {
        return false;
    }
    let (head, rest) = characters.split_at(4);
    let rest = rest.iter().chain(head).try_fold(0, |rest: u32, character| {
        let value = (*character as char).to_digit(36)?;
        Some((rest * if value > 9 { 100 } else { 10 } + value) % 97)
    });
    rest == Some(1)
}

/// The check of a Chinese citizen's number (GB 11643-1999): 17 digits, weighted by powers of 2 modulo 11, say which the
/// last character is. The date of birth in it has to be possible.
pub(super) fn chinese_id(characters: &[u8]) -> bool {
    const LAST: [u8; 11] = *b"10X98765432";
    let Some((last, digits)) = characters.split_last().filter(|(_, digits)| digits.len() == 17)
    else {
        return false;
    };
    let digit = |it: &u8| (*it as char).to_digit(10);
    let Some(digits) = digits.iter().map(digit).collect::<Option<Vec<u32>>>() else {
        return false;
    };
    let weight = |place: usize| (1 << (17 - place)) % 11;
    let sum: u32 = digits.iter().enumerate().map(|(place, it)| it * weight(place)).sum();
    is_date(&digits[6..14]) && LAST[sum as usize % 11] == last.to_ascii_uppercase()
}

/// Whether eight digits are year, month and day of somebody's birth.
fn is_date(digits: &[u32]) -> bool {
    let number = |digits: &[u32]| digits.iter().fold(0, |all, it| all * 10 + it);
    (1800..2100).contains(&number(&digits[..4]))
        && (1..=12).contains(&number(&digits[4..6]))
        && (1..=31).contains(&number(&digits[6..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|it| it - b'0').collect()
    }

    #[test]
    fn right_numbers_pass_and_others_dont() {
        // Numbers for tests of card networks, and of ISO 7812's own example.
        for number in ["4111111111111111", "378282246310005", "5555555555554444", "79927398713"] {
            assert!(luhn(&digits(number)), "{number}");
            let mut other = digits(number);
            other[3] = (other[3] + 1) % 10;
            assert!(!luhn(&other), "{number}");
        }
        // The examples of the IBAN registry.
        for number in
            ["DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606"]
        {
            assert!(iban(number.as_bytes()), "{number}");
            assert!(!iban(number.replace('0', "1").as_bytes()), "{number}");
        }
        // The examples of GB 11643.
        for number in ["11010519491231002X", "11010519491231002x", "440524188001010014"] {
            assert!(chinese_id(number.as_bytes()), "{number}");
        }
        assert!(!chinese_id(b"110105194912310021"));
        assert!(!chinese_id(b"11010519491331002X"), "there is no 13th month");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(!iban(b"DE8") && !iban(b"DE8%370400440532013000") && !iban(b""));
        assert!(!chinese_id(b"") && !chinese_id(b"1101051949123100XX"));
    }
}
