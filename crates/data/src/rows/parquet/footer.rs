//! The index at the end of a Parquet file, checked before a library builds structures from it.
//!
//! It is a struct of Thrift's compact protocol. A few bytes can announce lists of billions of elements
//! or a schema as deep as the file is long, and a program that believes them runs out of memory or
//! stack. Here every announced size is compared with the bytes that are there.

/// Deeper nesting is refused, of the schema and of the index itself.
const MAX_DEPTH: usize = 64;
/// The member of the index that holds the schema, and those of its elements that matter.
const SCHEMA: i64 = 2;
const N_CHILDREN: i64 = 5;

/// What is wrong with an index.
pub(super) fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let mut index = Reader { bytes };
    let mut id = 0;
    while let Some(kind) = index.field(&mut id)? {
        if id == SCHEMA && kind == LIST { index.schema()? } else { index.skip(kind, MAX_DEPTH)? }
    }
    Ok(())
}

const CUT: &str = "its index ends too early";
const ABSURD: &str = "its index announces more than it holds";

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.bytes.split_first().ok_or(CUT)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("its index holds a number that is too large")
    }

    fn signed(&mut self) -> Result<i64, &'static str> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn pass(&mut self, n_bytes: u64) -> Result<(), &'static str> {
        let n_bytes = usize::try_from(n_bytes).map_err(|_| ABSURD)?;
        self.bytes = self.bytes.get(n_bytes..).ok_or(ABSURD)?;
        Ok(())
    }

    /// The kind of a struct's next member, whose number goes to `id`; `None` at its end.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, &'static str> {
        let head = self.byte()?;
        let (step, kind) = (head >> 4, head & 0xf);
        if kind == 0 {
            return Ok(None);
        }
        *id = if step == 0 { self.signed()? } else { *id + i64::from(step) };
        Ok(Some(kind))
    }

    /// The size and the kind of a list. Each of its elements takes a byte at least.
    fn list(&mut self) -> Result<(u64, u8), &'static str> {
        let head = self.byte()?;
        let size = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        if size > self.bytes.len() as u64 { Err(ABSURD) } else { Ok((size, head & 0xf)) }
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or("its index is nested too deeply")?;
        match kind {
            // As a member, a truth value is its own kind; in a list it takes a byte.
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            4..=I64 => self.varint().map(|_| ()),
            DOUBLE => self.pass(8),
            BINARY => {
                let n_bytes = self.varint()?;
                self.pass(n_bytes)
            }
            LIST | SET => {
                let (size, kind) = self.list()?;
                (0..size).try_for_each(|_| self.element(kind, depth))
            }
            MAP => self.skip_map(depth),
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err("its index holds something of no known kind"),
        }
    }

    fn element(&mut self, kind: u8, depth: usize) -> Result<(), &'static str> {
        if matches!(kind, TRUE | FALSE) { self.pass(1) } else { self.skip(kind, depth) }
    }

    fn skip_map(&mut self, depth: usize) -> Result<(), &'static str> {
        let size = self.varint()?;
        if size == 0 {
            return Ok(());
        }
        if size > self.bytes.len() as u64 {
            return Err(ABSURD);
        }
        let kinds = self.byte()?;
        for _ in 0..size {
            self.element(kinds >> 4, depth)?;
            self.element(kinds & 0xf, depth)?;
        }
        Ok(())
    }

    /// The schema's elements come parents first, each with how many children follow it.
    fn schema(&mut self) -> Result<(), &'static str> {
        let (size, kind) = self.list()?;
        if kind != STRUCT {
            return Err("its schema isn't one");
        }
        // How many children are still to come, of the element and those around it.
        let mut open: Vec<u64> = Vec::new();
        for left in (0..size).rev() {
            let n_children = self.n_children()?;
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(siblings) = open.last_mut() {
                *siblings -= 1;
            }
            if n_children > left {
                return Err(ABSURD);
            }
            if n_children > 0 {
                open.push(n_children);
            }
            if open.len() > MAX_DEPTH {
                return Err("its schema is nested too deeply");
            }
        }
        Ok(())
    }

    fn n_children(&mut self) -> Result<u64, &'static str> {
        let (mut id, mut n_children) = (0, 0);
        while let Some(kind) = self.field(&mut id)? {
            if id == N_CHILDREN && (4..=I64).contains(&kind) {
                n_children = u64::try_from(self.signed()?).map_err(|_| ABSURD)?;
            } else {
                self.skip(kind, MAX_DEPTH)?;
            }
        }
        Ok(n_children)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An index whose schema has these elements, each with that many children, one byte each.
    fn index(n_children: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc];
        let mut size = n_children.len();
        while size >= 0x80 {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        n_children.iter().for_each(|count| bytes.extend([0x55, 2 * count, 0]));
        bytes.push(0);
        bytes
    }

    #[test]
    fn what_an_index_announces_must_be_there() {
        assert_eq!(check(&index(&[2, 1, 0, 0])), Ok(()));
        assert_eq!(check(&index(&[3, 0, 0])), Err(ABSURD));
        assert_eq!(check(&index(&[1; 64].into_iter().chain([0]).collect::<Vec<_>>())), Ok(()));
        let deep = [1; 65].into_iter().chain([0]).collect::<Vec<_>>();
        assert_eq!(check(&index(&deep)), Err("its schema is nested too deeply"));
        // A list of 2^31 numbers, and a text of as many bytes.
        assert_eq!(check(&[0x49, 0xf5, 0xff, 0xff, 0xff, 0xff, 7, 0]), Err(ABSURD));
        assert_eq!(check(&[0x48, 0xff, 0xff, 0xff, 0xff, 7, 0]), Err(ABSURD));
        assert_eq!(check(&[0x1c; 100_000]), Err("its index is nested too deeply"));
        assert_eq!(check(&[]), Err(CUT));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
