//! The running kernel's type information, as far as the programs need it: where a field lies and how big a struct is.
//! Parses bytes; which fields are wanted is the loader's business. Format: Documentation/bpf/btf.rst of Linux.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Where Linux 5.4 and later keep it.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
/// Nested unnamed structs, typedefs and qualifiers are followed at most this deep; the kernel's own depth is about 5.
const DEPTH_MAX: u32 = 32;

const KIND_POINTER: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_PROTOTYPE: u32 = 13;
const KIND_TYPE_TAG: u32 = 18;

/// Why the type information cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    #[error("cannot read {path}")]
    Read {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not BTF that this agent reads: {what}")]
    Format { path: &'static str, what: &'static str },
}

/// A field found: its offset in bytes from the start of the struct asked for, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) offset: u32,
    type_id: u32,
}

/// A parsed BTF image.
pub(super) struct KernelBtf {
    bytes: Vec<u8>,
    strings: usize,
    /// Where each type's record starts; index 0 is `void`.
    types: Vec<u32>,
    /// Structs and unions with a name.
    structs: BTreeMap<Vec<u8>, u32>,
}

/// One type's record.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    /// Bitfields among the members: their offsets are packed with a size.
    packed: bool,
    count: u32,
    /// Size in bytes of a struct or union, the type meant by a qualifier or typedef.
    size_or_type: u32,
    /// Where what follows the common head starts.
    rest: usize,
}

impl KernelBtf {
    pub(super) fn of_running_kernel() -> Result<Self, BtfError> {
        let path = KERNEL_BTF;
        let bytes = fs::read(Path::new(path)).map_err(|source| BtfError::Read { path, source })?;
        Self::parse(bytes).map_err(|what| BtfError::Format { path, what })
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, &'static str> {
        const SHORT: &str = "it ends early";
        let word =
            |at: usize| bytes.get(at..at + 4).map(|it| u32::from_ne_bytes(it.try_into().expect("4 bytes")));
        let magic = bytes.get(..2).map(|it| u16::from_ne_bytes(it.try_into().expect("2 bytes")));
        if magic != Some(MAGIC) {
            return Err("wrong magic");
        }
        if bytes.len() < HEADER_BYTES {
            return Err(SHORT);
        }
        let header = word(4).ok_or(SHORT)? as usize;
        let types_start = header + word(8).ok_or(SHORT)? as usize;
        let types_end = types_start + word(12).ok_or(SHORT)? as usize;
        let strings = header + word(16).ok_or(SHORT)? as usize;
        if types_end > bytes.len() || strings > bytes.len() {
            return Err(SHORT);
        }
        let mut btf = Self { bytes, strings, types: vec![0], structs: BTreeMap::new() };
        let mut at = types_start;
        while at < types_end {
            let record = btf.record(at).ok_or(SHORT)?;
            if matches!(record.kind, KIND_STRUCT | KIND_UNION) && record.name != 0 {
                let id = u32::try_from(btf.types.len()).map_err(|_| "too many types")?;
                let name = btf.string(record.name).ok_or(SHORT)?.to_vec();
                // A name may come twice; the kernel proper's types are first.
                btf.structs.entry(name).or_insert(id);
            }
            btf.types.push(u32::try_from(at).map_err(|_| "larger than 4 GiB")?);
            at = record.rest + rest_bytes(&record).ok_or("a kind of type that is not known")?;
        }
        Ok(btf)
    }

    /// Finds `path` (fields joined by dots) in the struct `of`.
    pub(super) fn member(&self, of: &str, path: &str) -> Option<Member> {
        let mut found = Member { offset: 0, type_id: *self.structs.get(of.as_bytes())? };
        for name in path.split('.') {
            let inner = self.find(found.type_id, name.as_bytes(), DEPTH_MAX)?;
            found = Member { offset: found.offset + inner.offset, type_id: inner.type_id };
        }
        Some(found)
    }

    /// How many arguments the function has that this typedef names, or points to.
    pub(super) fn arguments(&self, name: &str) -> Option<u32> {
        let named = |id: &u32| {
            let of = self.type_of(*id)?;
            (of.kind == KIND_TYPEDEF && self.string(of.name)? == name.as_bytes()).then_some(())
        };
        let ids = 1..u32::try_from(self.types.len()).ok()?;
        let mut of = self.type_of(self.plain(ids.into_iter().find(|id| named(id).is_some())?)?)?;
        if of.kind == KIND_POINTER {
            of = self.type_of(self.plain(of.size_or_type)?)?;
        }
        (of.kind == KIND_PROTOTYPE).then_some(of.count)
    }

    /// The struct that a field is, or is an array of: its name and size in bytes.
    pub(super) fn struct_of(&self, member: Member) -> Option<(&[u8], u32)> {
        let mut of = self.type_of(self.plain(member.type_id)?)?;
        if of.kind == KIND_ARRAY {
            of = self.type_of(self.plain(self.word(of.rest)?)?)?;
        }
        matches!(of.kind, KIND_STRUCT | KIND_UNION).then_some((self.string(of.name)?, of.size_or_type))
    }

    fn find(&self, type_id: u32, name: &[u8], depth: u32) -> Option<Member> {
        let depth = depth.checked_sub(1)?;
        let of = self.type_of(self.plain(type_id)?)?;
        if !matches!(of.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..of.count as usize {
            let at = of.rest + 12 * index;
            let (field, type_id, bits) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let offset = if of.packed { bits & 0x00ff_ffff } else { bits } / 8;
            let found = if field == 0 {
                self.find(type_id, name, depth)
            } else if self.string(field)? == name {
                Some(Member { offset: 0, type_id })
            } else {
                None
            };
            if let Some(inner) = found {
                return Some(Member { offset: offset + inner.offset, type_id: inner.type_id });
            }
        }
        None
    }

    /// Sees through typedefs and qualifiers.
    fn plain(&self, mut type_id: u32) -> Option<u32> {
        for _ in 0..DEPTH_MAX {
            let of = self.type_of(type_id)?;
            match of.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    type_id = of.size_or_type;
                }
                _ => return Some(type_id),
            }
        }
        None
    }

    fn type_of(&self, type_id: u32) -> Option<Type> {
        if type_id == 0 {
            return None;
        }
        self.record(*self.types.get(type_id as usize)? as usize)
    }

    fn record(&self, at: usize) -> Option<Type> {
        let (name, info, size_or_type) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
        let (kind, packed, count) = ((info >> 24) & 0x1f, info >> 31 != 0, info & 0xffff);
        Some(Type { name, kind, packed, count, size_or_type, rest: at + 12 })
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..at + 4).map(|it| u32::from_ne_bytes(it.try_into().expect("4 bytes")))
    }

    fn string(&self, at: u32) -> Option<&[u8]> {
        let text = self.bytes.get(self.strings + at as usize..)?;
        Some(&text[..text.iter().position(|byte| *byte == 0)?])
    }
}

/// How long what follows a type's common head is, by its kind. `None`: a kind that is newer than this code.
fn rest_bytes(of: &Type) -> Option<usize> {
    let count = of.count as usize;
    Some(match of.kind {
        // int, var, declaration tag
        1 | 14 | 17 => 4,
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        KIND_ARRAY => 12,
        // struct, union, section, 64-bit enum
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count,
        // enum, function prototype
        6 | KIND_PROTOTYPE => 8 * count,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a BTF image: `struct outer { int a; union { struct inner[4] b; }; }`, `struct inner { int x; int y; }`.
    fn image() -> Vec<u8> {
        let strings = b"\0int\0outer\0a\0b\0inner\0x\0y\0alias\0call\0";
        let name = |text: &[u8]| {
            let mut whole = text.to_vec();
            whole.push(0);
            strings.windows(whole.len()).position(|it| it == whole).unwrap() as u32
        };
        let mut types: Vec<u32> = Vec::new();
        let head = |kind: u32, count: u32| (kind << 24) | count;
        types.extend([name(b"int"), head(1, 0), 4, 32]); // 1
        types.extend([name(b"inner"), head(KIND_STRUCT, 2), 8, name(b"x"), 1, 0, name(b"y"), 1, 32]); // 2
        types.extend([name(b"alias"), head(KIND_TYPEDEF, 0), 2]); // 3
        types.extend([0, head(KIND_ARRAY, 0), 0, 3, 1, 4]); // 4
        types.extend([0, head(KIND_UNION, 1), 32, name(b"b"), 4, 0]); // 5
        types.extend([name(b"outer"), head(KIND_STRUCT, 2), 40, name(b"a"), 1, 0, 0, 5, 64]); // 6
        types.extend([0, head(KIND_PROTOTYPE, 2), 0, 0, 1, 0, 6]); // 7
        types.extend([0, head(KIND_POINTER, 0), 7]); // 8
        types.extend([name(b"call"), head(KIND_TYPEDEF, 0), 8]); // 9
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut out = MAGIC.to_ne_bytes().to_vec();
        out.extend([1, 0]);
        let lengths = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        out.extend(lengths.iter().flat_map(|word| word.to_ne_bytes()));
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn fields_are_found_through_unnamed_unions_and_typedefs() {
        let btf = KernelBtf::parse(image()).unwrap();
        assert_eq!(btf.member("outer", "a").unwrap().offset, 0);
        let b = btf.member("outer", "b").unwrap();
        assert_eq!(b.offset, 8);
        assert_eq!(btf.struct_of(b), Some((&b"inner"[..], 8)));
        assert_eq!(btf.member("inner", "y").unwrap().offset, 4);
    }

    #[test]
    fn arguments_are_counted_behind_a_typedef_of_a_pointer() {
        let btf = KernelBtf::parse(image()).unwrap();
        assert_eq!(btf.arguments("call"), Some(2));
        for no_function in ["alias", "outer", "int", "nobody"] {
            assert_eq!(btf.arguments(no_function), None, "{no_function}");
        }
    }

    #[test]
    fn what_is_not_there_is_none() {
        let btf = KernelBtf::parse(image()).unwrap();
        for (of, path) in [("outer", "c"), ("nobody", "a"), ("outer", "a.x"), ("int", "x"), ("outer", "")] {
            assert_eq!(btf.member(of, path), None, "{of}.{path}");
        }
    }

    #[test]
    fn a_cut_image_is_refused_wherever_it_is_cut() {
        let whole = image();
        for length in 0..whole.len() - 33 {
            assert!(KernelBtf::parse(whole[..length].to_vec()).is_err(), "cut at {length}");
        }
    }
}
