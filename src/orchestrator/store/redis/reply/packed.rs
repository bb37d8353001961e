//! A hash as the scripts pack it: a MessagePack array of names and values in turns, nothing but texts. It is the one form of MessagePack that is read here,
//! so that no more of it is known than this.

use super::Read;
use super::unreadable;

/// Names with their values.
pub(super) fn pairs(packed: &[u8]) -> Read<Vec<(String, String)>> {
    let mut rest = Rest(packed);
    let count = match rest.take::<1>()? {
        [head @ 0x90..=0x9f] => usize::from(head & 0x0f),
        [0xdc] => usize::from(u16::from_be_bytes(rest.take()?)),
        [0xdd] => rest.length()?,
        _ => return Err(damaged()),
    };
    // What is claimed of the length is not believed before it is seen.
    let mut pairs = Vec::with_capacity((count / 2 + 1).min(packed.len()));
    for _ in 0..count / 2 {
        pairs.push((rest.text()?, rest.text()?));
    }
    if rest.0.is_empty() { Ok(pairs) } else { Err(damaged()) }
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(u32::from_be_bytes(self.take()?)).map_err(|_| damaged())
    }

    fn text(&mut self) -> Read<String> {
        let length = match self.take::<1>()? {
            [head @ 0xa0..=0xbf] => usize::from(head & 0x1f),
            [0xd9] => usize::from(u8::from_be_bytes(self.take()?)),
            [0xda] => usize::from(u16::from_be_bytes(self.take()?)),
            [0xdb] => self.length()?,
            _ => return Err(damaged()),
        };
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        str::from_utf8(text).map(str::to_owned).map_err(|_| unreadable("Redis holds what is not UTF-8"))
    }
}

fn damaged() -> super::StoreError {
    unreadable("a packed record of Redis is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_read() {
        let long = |n: usize| "x".repeat(n);
        let texts = [long(0), "ä".to_owned(), long(31), long(32), long(255), long(256), long(65_535), long(65_536)];
        let mut packed = vec![0x98];
        for text in &texts {
            let length = text.len();
            match length {
                0..=31 => packed.push(0xa0 | u8::try_from(length).unwrap()),
                32..=255 => packed.extend([0xd9, u8::try_from(length).unwrap()]),
                256..=65_535 => packed.extend([&[0xda], &u16::try_from(length).unwrap().to_be_bytes()[..]].concat()),
                _ => packed.extend([&[0xdb], &u32::try_from(length).unwrap().to_be_bytes()[..]].concat()),
            }
            packed.extend_from_slice(text.as_bytes());
        }
        let read = pairs(&packed).unwrap();
        assert_eq!(read.iter().flat_map(|(name, value)| [name, value]).collect::<Vec<_>>(), texts.iter().collect::<Vec<_>>());
        for cut in [0, 1, 2, packed.len() - 1] {
            assert!(pairs(&packed[..cut]).is_err(), "{cut}");
        }
        packed.push(0);
        assert!(pairs(&packed).is_err(), "more than was said");
    }

    #[test]
    fn an_array_of_any_length_is_read_and_nothing_else() {
        for (head, count) in [(vec![0x90], 0), (vec![0x92], 1), (vec![0xdc, 0, 4], 2), (vec![0xdd, 0, 0, 0, 2], 1)] {
            let packed = [head, vec![0xa0; 2 * count]].concat();
            assert_eq!(pairs(&packed).unwrap().len(), count);
        }
        for other in [&[0x80][..], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0x92, 0x01, 0xa0], &[0x92, 0xa0, 0xa1, 0xff]] {
            assert!(pairs(other).is_err(), "{other:?}");
        }
    }
}
