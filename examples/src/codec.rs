//! Numbers and byte strings in a row, for what scheduler and executor say to each other: LEB128 numbers, strings behind
//! their length. Paths and words need not be UTF-8, so JSON would not do.

use bytes::{Buf, Bytes};

/// The bytes are not what their writer would have written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn number(from: &mut Bytes) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        if !from.has_remaining() {
            return Err(Malformed("ends within a number"));
        }
        let byte = from.get_u8();
        let bits = u64::from(byte & 0x7f);
        if bits > u64::MAX >> shift {
            return Err(Malformed("a number of more than 64 bits"));
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed("a number of more than 64 bits"))
}

pub fn bytes(from: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::try_from(number(from)?).unwrap_or(usize::MAX);
    if length > from.remaining() {
        return Err(Malformed("ends within a string"));
    }
    Ok(from.split_to(length))
}

/// Nothing may follow.
pub fn end(from: &Bytes) -> Result<(), Malformed> {
    if from.is_empty() { Ok(()) } else { Err(Malformed("goes on after its end")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_comes_out(numbers in prop::collection::vec(any::<u64>(), 0..20), text in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            numbers.iter().for_each(|it| put_number(&mut out, *it));
            put_bytes(&mut out, &text);
            let mut from = Bytes::from(out);
            for expect in numbers {
                prop_assert_eq!(number(&mut from), Ok(expect));
            }
            prop_assert_eq!(bytes(&mut from).expect("whole"), text);
            prop_assert_eq!(end(&from), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(input in any::<Vec<u8>>()) {
            let mut from = Bytes::from(input);
            while number(&mut from).is_ok() && bytes(&mut from).is_ok() {}
        }
    }
}
