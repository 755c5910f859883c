//! Writes the offsets of kernel fields into the programs' instructions, where these name the fields by their places
//! (`agent_ebpf::field`). Bytes in, bytes out: nothing here asks the kernel.

use agent_ebpf::field::{FIELDS_MAX, LOAD_MARK, SET_MARK};

// linux/bpf.h: the classes, modes and sizes of an instruction's first byte.
/// `BPF_LDX | BPF_MEM`; the two bits between say how many bytes are loaded.
const LOAD: u8 = 0x61;
const LOAD_SIZE: u8 = 0x18;
/// `BPF_ALU64 | BPF_MOV | BPF_K`, and the same of 32 bits.
const SET: [u8; 2] = [0xb7, 0xb4];

// elf.h
const SECTIONS: usize = 0x28;
const SECTION_SIZE: usize = 0x3a;
const SECTION_COUNT: usize = 0x3c;
const HAS_INSTRUCTIONS: u64 = 0x4;

/// A load from so far is refused by the verifier whatever it is from, so an offset that no instruction can hold costs the
/// programs that use it and no others.
const NOWHERE: i16 = i16::MAX;

/// The object with each field's offset in place of the field's mark. `offsets` are in the order of the table of fields. What
/// is no ELF file comes back as it was, for the loader to refuse.
pub(super) fn write(object: &[u8], offsets: &[u32]) -> Vec<u8> {
    let mut object = object.to_vec();
    for (start, len) in programs(&object) {
        let Some(section) = object.get_mut(start..start.saturating_add(len)) else { continue };
        for instruction in section.as_chunks_mut().0 {
            complete(instruction, offsets);
        }
    }
    object
}

fn complete(instruction: &mut [u8; 8], offsets: &[u32]) {
    let [code, _, from @ .., _, _, _, _] = *instruction;
    let offset_at = |place: Option<usize>| offsets.get(place.filter(|it| *it < FIELDS_MAX)?).copied();
    if code & !LOAD_SIZE == LOAD {
        let place = i16::from_le_bytes(from).checked_sub(LOAD_MARK).and_then(|it| it.try_into().ok());
        if let Some(offset) = offset_at(place) {
            instruction[2..4].copy_from_slice(&i16::try_from(offset).unwrap_or(NOWHERE).to_le_bytes());
        }
    } else if SET.contains(&code) {
        let [.., a, b, c, d] = *instruction;
        let place = i32::from_le_bytes([a, b, c, d]).checked_sub(SET_MARK).and_then(|it| it.try_into().ok());
        if let Some(offset) = offset_at(place) {
            instruction[4..].copy_from_slice(&offset.to_le_bytes());
        }
    }
}

/// Where the sections with instructions lie, and how long they are.
fn programs(object: &[u8]) -> Vec<(usize, usize)> {
    let table = word(object, SECTIONS, 8);
    let (size, count) = (word(object, SECTION_SIZE, 2), word(object, SECTION_COUNT, 2));
    let sections = (0..count.unwrap_or(0)).filter_map(|number| {
        let header = usize::try_from(table?.checked_add(number * size?)?).ok()?;
        let field = |at, len| word(object, header.checked_add(at)?, len);
        let place = (usize::try_from(field(0x18, 8)?).ok()?, usize::try_from(field(0x20, 8)?).ok()?);
        (field(0x08, 8)? & HAS_INSTRUCTIONS != 0).then_some(place)
    });
    sections.collect()
}

/// A little-endian number of so many bytes.
fn word(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut word = [0; 8];
    word[..len].copy_from_slice(bytes.get(at..at.checked_add(len)?)?);
    Some(u64::from_le_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSETS: [u32; 3] = [0x11, 0x22, 0x1_0000];

    fn completed(mut instruction: [u8; 8]) -> [u8; 8] {
        complete(&mut instruction, &OFFSETS);
        instruction
    }

    #[test]
    fn a_marked_load_gets_the_offset() {
        assert_eq!(completed([0x79, 0x61, 0x01, 0x7f, 0, 0, 0, 0]), [0x79, 0x61, 0x22, 0, 0, 0, 0, 0]);
        assert_eq!(completed([0x71, 0x61, 0x00, 0x7f, 0, 0, 0, 0]), [0x71, 0x61, 0x11, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_offset_too_large_for_a_load_leads_nowhere() {
        assert_eq!(completed([0x61, 0x61, 0x02, 0x7f, 0, 0, 0, 0]), [0x61, 0x61, 0xff, 0x7f, 0, 0, 0, 0]);
    }

    #[test]
    fn a_marked_number_becomes_the_offset() {
        assert_eq!(completed([0xb7, 0x02, 0, 0, 2, 0, 0x66, 0x4f]), [0xb7, 0x02, 0, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn everything_else_stays() {
        for other in [
            [0x79, 0x61, 0x03, 0x7f, 0, 0, 0, 0],
            [0x79, 0xa1, 0xf0, 0xff, 0, 0, 0, 0],
            [0x7b, 0x61, 0x01, 0x7f, 0, 0, 0, 0],
            [0xb7, 0x02, 0, 0, 3, 0, 0x66, 0x4f],
            [0x07, 0x02, 0, 0, 0, 0, 0x66, 0x4f],
        ] {
            assert_eq!(completed(other), other);
        }
    }

    #[test]
    fn the_object_has_marks_in_its_programs_and_keeps_none() {
        let object: &[u8] = include_bytes!("../../../agent-ebpf/object/ingot.bpf.o");
        let offsets = vec![0; agent_ebpf::field::FIELDS.len()];
        let once = write(object, &offsets);
        assert_ne!(once, object);
        assert_eq!(write(&once, &vec![8; offsets.len()]), once);
        assert_eq!(once.len(), object.len());
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        for no_object in [&b""[..], &[0xff; 64], &[0xff; 100]] {
            assert_eq!(write(no_object, &OFFSETS), no_object);
        }
    }
}
