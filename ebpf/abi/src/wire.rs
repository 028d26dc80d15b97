//! Plain structs that are read from untrusted bytes without `unsafe`.

/// A type of fixed size that any bytes are a value of.
pub trait Wire: Sized {
    /// Size in bytes.
    const BYTES: usize;

    /// Takes the value from the front of `reader`; none when it has too few bytes.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Takes `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// What is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl Wire for $ty {
            const BYTES: usize = size_of::<$ty>();

            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                Some(Self::from_ne_bytes(reader.take(Self::BYTES)?.try_into().ok()?))
            }
        }
    )*};
}

integer!(u8, u16, u32, u64, i32, i64);

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const BYTES: usize = T::BYTES * N;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut all = [T::default(); N];
        for one in &mut all {
            *one = T::read(reader)?;
        }
        Some(all)
    }
}

/// Declares `repr(C)` structs of integers; refuses padding at compile time.
macro_rules! wire {
    ($($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* pub $field:ident: $ty:ty,)*
    })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $crate::Wire for $name {
            const BYTES: usize = size_of::<Self>();

            fn read(reader: &mut $crate::Reader<'_>) -> Option<Self> {
                Some(Self { $($field: <$ty as $crate::Wire>::read(reader)?,)* })
            }
        }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ <$ty as $crate::Wire>::BYTES)*,
            "padding: reorder the fields or name the hole",
        );
        const _: () = assert!(align_of::<$name>() <= 8, "ring records are 8-byte aligned");
    )*};
}
