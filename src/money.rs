//! Money: whole minor units of one currency (fen, cents), never a fraction, never a float.

use std::fmt;
use std::str::FromStr;

/// An ISO 4217 currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

/// Why a text is not a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an ISO 4217 currency code in upper case, like CNY")]
pub struct CurrencyError;

impl Currency {
    /// The currency of something that is new. ISO 4217 has codes for "no currency" and "for tests", with which nobody pays; what was bought
    /// with them before that was refused is still read.
    pub fn of_payment(text: &str) -> Result<Self, CurrencyError> {
        if matches!(text, "XXX" | "XTS") { Err(CurrencyError) } else { text.parse() }
    }

    /// The three letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// Digits behind the decimal point when shown to people: 2 for CNY, 0 for JPY.
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or(0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        iso_currency::Currency::from_code(text).map(Self).ok_or(CurrencyError)
    }
}

/// An amount in one currency. Negative amounts exist (a posting's debit side); the edges refuse them where they make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Minor units: 2000 is 20 yuan.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// The largest amount accepted from outside, in minor units: what a JSON number carries exactly (2^53 - 1).
    pub const MAX_AMOUNT: i64 = (1 << 53) - 1;

    /// An amount of a currency.
    pub const fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// The amount in major units, with the digits its currency has: `20.00`, `-0.05`, `2000` (JPY).
    pub fn decimal(self) -> String {
        let sign = if self.amount < 0 { "-" } else { "" };
        let (digits, amount) = (usize::from(self.currency.exponent()), self.amount.unsigned_abs());
        let text = format!("{amount:0>width$}", width = digits + 1);
        let (whole, rest) = text.split_at(text.len() - digits);
        if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
    }

    /// Nothing of a currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }
}

/// As people write it, in major units: `20.00 CNY`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

/// In minor units, as it is kept: `2000 CNY`.
impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_in_major_units_has_the_digits_of_its_currency() {
        for (amount, currency, shown) in [
            (2000, "CNY", "20.00"),
            (-5, "CNY", "-0.05"),
            (0, "CNY", "0.00"),
            (2000, "JPY", "2000"),
            (1, "BHD", "0.001"),
            (i64::MIN, "USD", "-92233720368547758.08"),
        ] {
            let money = Money::new(amount, currency.parse().unwrap());
            assert_eq!((money.decimal(), money.to_string()), (shown.to_owned(), format!("{shown} {currency}")));
        }
    }

    #[test]
    fn a_currency_is_one_that_exists_in_upper_case() {
        assert_eq!("CNY".parse::<Currency>().map(Currency::exponent), Ok(2));
        for text in ["", "cny", "CN", "CNYY", "XX1", "ABC"] {
            assert_eq!((text.parse::<Currency>(), Currency::of_payment(text)), (Err(CurrencyError), Err(CurrencyError)), "{text}");
        }
        for text in ["XXX", "XTS"] {
            assert!(text.parse::<Currency>().is_ok() && Currency::of_payment(text).is_err(), "{text} may be on disk from before");
        }
    }
}
