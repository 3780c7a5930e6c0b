//! In place of libunwind: the shipped program never unwinds (`panic = "abort"`), and has neither the tables nor the names that a
//! backtrace is made of (`.cargo/static.ld`). What std was built to call is here, finds no frame, and leaves libunwind out.
//!
//! Itanium C++ ABI, Exception Handling, 1.1: <https://itanium-cxx-abi.github.io/cxx-abi/abi-eh.html>.

use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

/// Calls `trace` for no frame.
// SAFETY: nothing else that is linked defines the name, since libunwind is not; the signature is the ABI's.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(
    _trace: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
    _argument: *mut c_void,
) -> c_int {
    END_OF_STACK
}

/// What would be called with a frame, or at the end of a landing pad: never, and it would not come back.
macro_rules! uncalled {
    ($($name:ident)*) => {$(
        // SAFETY: as above; whatever it were given or asked for, it only ends the process.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            std::process::abort()
        }
    )*};
}

uncalled! {
    _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
}
