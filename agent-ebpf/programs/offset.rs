//! Offsets of kernel fields, as the instructions that the loader completes (`agent_ebpf::field`). By `asm!`, since rustc
//! would be free to compute with a number that is none yet.

use core::arch::asm;

use agent_ebpf::field::{LOAD_MARK, SET_MARK};

/// The offset of the field that has this place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Offset<const PLACE: usize>;

impl<const PLACE: usize> Offset<PLACE> {
    /// The number itself; 0: this kernel has no such field. The verifier knows it and drops what hangs on the other answer.
    #[inline(always)]
    pub(crate) fn load(self) -> usize {
        let offset: u64;
        // SAFETY: sets a register and does nothing else.
        unsafe {
            asm!(
                "{offset} = {mark}",
                offset = out(reg) offset,
                mark = const SET_MARK + PLACE as i32,
                options(pure, nomem, nostack),
            );
        }
        offset as usize
    }

    /// What the field holds. `T` has 1, 4 or 8 bytes.
    ///
    /// # Safety
    /// The verifier knows `at` to point to a struct with that field, and the field to be a `T`.
    #[inline(always)]
    pub(crate) unsafe fn read<T: Copy>(self, at: *const u8) -> T {
        let value: u64;
        // SAFETY: as the caller says. The kernel is little-endian wherever these programs run, so that the first bytes of
        // the register are the `T`.
        unsafe {
            match size_of::<T>() {
                1 => asm!(
                    "{value} = *(u8 *)({at} + {mark})",
                    value = lateout(reg) value,
                    at = in(reg) at,
                    mark = const LOAD_MARK + PLACE as i16,
                    options(readonly, nostack),
                ),
                4 => {
                    asm!(
                        "{value} = *(u32 *)({at} + {mark})",
                        value = lateout(reg) value,
                        at = in(reg) at,
                        mark = const LOAD_MARK + PLACE as i16,
                        options(readonly, nostack),
                    );
                    // Else rustc would clear the upper half once more.
                    core::hint::assert_unchecked(value <= u64::from(u32::MAX));
                }
                _ => {
                    const { assert!(size_of::<T>() == 1 || size_of::<T>() == 4 || size_of::<T>() == 8) };
                    asm!(
                        "{value} = *(u64 *)({at} + {mark})",
                        value = lateout(reg) value,
                        at = in(reg) at,
                        mark = const LOAD_MARK + PLACE as i16,
                        options(readonly, nostack),
                    );
                }
            }
            core::mem::transmute_copy::<u64, T>(&value)
        }
    }
}
