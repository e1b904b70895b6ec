//! What guests made by wit-bindgen before there were components agree on with their host: those of SpiderLightning, and
//! of Spin's first SDKs.
//!
//! ```text
//! to a function of the host      every number, handle, address and length is an i32; where more than one comes back,
//!                                the last parameter is the address that it is written to
//! from a function of the guest   what comes back is at the address that it returns
//! text, list                     address and count; the host has the guest make room: canonical_abi_realloc
//! expected<T, E>                 a byte, 0 for T; then either, aligned to four where it has an address
//! option<T>, variant             a byte for the case; then what belongs to it, aligned to four
//! resource                       a number of the host's, canonical_abi.resource_drop_NAME gives it back
//! ```
//!
//! All that comes from a guest is checked here: what is not right ends the guest by an error that says what it was.

use wasmtime::{
    AsContext, AsContextMut, Caller, Extern, Instance, Memory, Store, TypedFunc, WasmParams, WasmResults,
};

/// Most bytes of a text that a guest passes: a name, a key, an address.
const MAX_TEXT: u32 = 64 << 10;
/// Most bytes of a list that either side passes, or of all texts in a list of them.
pub const MAX_BYTES: u32 = 16 << 20;
/// Most things of the host's that an instance may hold.
const MAX_HANDLES: usize = 1024;

const MEMORY: &str = "memory";
const REALLOC: &str = "canonical_abi_realloc";

/// Address and count in the guest's memory.
pub type Span = (u32, u32);

type Realloc = TypedFunc<(u32, u32, u32, u32), u32>;

/// The guest's side of the interface.
#[derive(Clone)]
pub struct Abi {
    memory: Memory,
    /// Only a guest that is given nothing can do without.
    realloc: Option<Realloc>,
}

impl Abi {
    /// Of the guest that calls.
    pub fn of_caller<T: 'static>(caller: &mut Caller<'_, T>) -> wasmtime::Result<Self> {
        let memory = caller.get_export(MEMORY).and_then(Extern::into_memory);
        let realloc = caller.get_export(REALLOC).and_then(Extern::into_func);
        let realloc = realloc.and_then(|function| function.typed(&*caller).ok());
        Self::new(memory, realloc)
    }

    pub fn of_instance<T: 'static>(store: &mut Store<T>, instance: &Instance) -> wasmtime::Result<Self> {
        let memory = instance.get_memory(&mut *store, MEMORY);
        let realloc = instance.get_typed_func(&mut *store, REALLOC).ok();
        Self::new(memory, realloc)
    }

    fn new(memory: Option<Memory>, realloc: Option<Realloc>) -> wasmtime::Result<Self> {
        let memory = memory.ok_or_else(|| wasmtime::format_err!("the guest exports no memory `{MEMORY}`"))?;
        Ok(Self { memory, realloc })
    }

    fn slice<'a>(&self, store: &'a (impl AsContext + 'a), (at, length): Span) -> wasmtime::Result<&'a [u8]> {
        let start = at as usize;
        let range = start.checked_add(length as usize).map(|end| start..end);
        let data = self.memory.data(store);
        range.and_then(|range| data.get(range)).ok_or_else(|| {
            wasmtime::format_err!("{length} bytes at {at:#x} are not within the guest's memory")
        })
    }

    pub fn byte(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<u8> {
        Ok(self.slice(store, (at, 1))?.first().copied().unwrap_or_default())
    }

    pub fn half(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<u16> {
        let bytes = self.slice(store, (at, 2))?.try_into()?;
        Ok(u16::from_le_bytes(bytes))
    }

    fn number(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<u32> {
        let bytes = self.slice(store, (at, 4))?.try_into()?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Address and count, as they lie in memory.
    pub fn span(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<Span> {
        Ok((self.number(store, at)?, self.number(store, beyond(at, 4)?)?))
    }

    pub fn bytes(&self, store: &impl AsContext, span: Span) -> wasmtime::Result<Vec<u8>> {
        if span.1 > MAX_BYTES {
            wasmtime::bail!("the guest passes {} bytes; at most {MAX_BYTES} are taken", span.1);
        }
        Ok(self.slice(store, span)?.to_vec())
    }

    pub fn text(&self, store: &impl AsContext, span: Span) -> wasmtime::Result<String> {
        if span.1 > MAX_TEXT {
            wasmtime::bail!(
                "the guest passes a text of {} bytes; at most {MAX_TEXT} are taken",
                span.1
            );
        }
        let bytes = self.slice(store, span)?.to_vec();
        String::from_utf8(bytes)
            .map_err(|_| wasmtime::format_err!("the guest passes a text that is not UTF-8"))
    }

    /// A list of pairs of texts.
    pub fn pairs(
        &self,
        store: &impl AsContext,
        (at, count): Span,
    ) -> wasmtime::Result<Vec<(String, String)>> {
        let (mut pairs, mut total) = (Vec::new(), 0_usize);
        for index in 0..count {
            let offset = index.checked_mul(16);
            let pair = beyond(
                at,
                offset.ok_or_else(|| wasmtime::format_err!("a list ends nowhere"))?,
            )?;
            let name = self.text(store, self.span(store, pair)?)?;
            let value = self.text(store, self.span(store, beyond(pair, 8)?)?)?;
            total += name.len() + value.len() + size_of::<(String, String)>();
            if total > MAX_BYTES as usize {
                wasmtime::bail!("the guest passes a list of more than {MAX_BYTES} bytes");
            }
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    /// `option<list<u8>>`, as it lies in memory.
    pub fn optional_bytes(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<Option<Vec<u8>>> {
        match self.byte(store, at)? {
            0 => Ok(None),
            _ => Ok(Some(self.bytes(store, self.span(store, beyond(at, 4)?)?)?)),
        }
    }

    /// An answer to a request, as it lies in memory.
    pub fn response(&self, store: &impl AsContext, at: u32) -> wasmtime::Result<Response> {
        let headers = match self.byte(store, beyond(at, 4)?)? {
            0 => Vec::new(),
            _ => self.pairs(store, self.span(store, beyond(at, 8)?)?)?,
        };
        Ok(Response {
            status: self.half(store, at)?,
            headers,
            body: self.optional_bytes(store, beyond(at, 16)?)?.unwrap_or_default(),
        })
    }

    pub fn write(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        at: u32,
        bytes: &[u8],
    ) -> wasmtime::Result<()> {
        self.memory.write(store, at as usize, bytes).map_err(|_| {
            wasmtime::format_err!(
                "{} bytes at {at:#x} are not within the guest's memory",
                bytes.len()
            )
        })
    }

    /// Has the guest make room.
    async fn room(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        align: u32,
        length: usize,
    ) -> wasmtime::Result<u32> {
        if length == 0 {
            return Ok(align);
        }
        let length = u32::try_from(length).ok().filter(|length| *length <= MAX_BYTES);
        let length = length
            .ok_or_else(|| wasmtime::format_err!("more than {MAX_BYTES} bytes are not passed to a guest"))?;
        let realloc = self.realloc.as_ref();
        let realloc = realloc.ok_or_else(|| wasmtime::format_err!("the guest exports no `{REALLOC}`"))?;
        realloc.call_async(store, (0, 0, align, length)).await
    }

    pub async fn place(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        bytes: &[u8],
    ) -> wasmtime::Result<Span> {
        let at = self.room(store, 1, bytes.len()).await?;
        self.write(store, at, bytes)?;
        Ok((at, bytes.len() as u32))
    }

    /// A list of texts, or, two and two, of pairs of them.
    async fn place_list(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        texts: Vec<&[u8]>,
    ) -> wasmtime::Result<u32> {
        let mut list = Vec::with_capacity(8 * texts.len());
        for text in &texts {
            let (at, length) = self.place(store, text).await?;
            list.extend(at.to_le_bytes());
            list.extend(length.to_le_bytes());
        }
        let at = self.room(store, 4, list.len()).await?;
        self.write(store, at, &list)?;
        Ok(at)
    }

    pub async fn place_pairs(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        pairs: &[(String, String)],
    ) -> wasmtime::Result<Span> {
        let texts = pairs
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let at = self.place_list(store, texts.collect()).await?;
        Ok((at, u32::try_from(pairs.len())?))
    }

    /// A value as it lies in memory, where what it refers to has its place already.
    async fn lower(
        &self,
        store: &mut impl AsContextMut<Data: Send>,
        value: Value,
    ) -> wasmtime::Result<Vec<u8>> {
        Ok(match value {
            Value::Nothing => Vec::new(),
            Value::Number(number) => number.to_le_bytes().to_vec(),
            Value::Bytes(bytes) => words(&[self.place(store, &bytes).await?]),
            Value::Texts(texts) => {
                let count = u32::try_from(texts.len())?;
                let bytes = texts.iter().map(String::as_bytes).collect();
                words(&[(self.place_list(store, bytes).await?, count)])
            }
            Value::Response(response) => {
                let mut lowered = u32::from(response.status).to_le_bytes().to_vec();
                lowered.extend(1_u32.to_le_bytes());
                lowered.extend(words(&[self.place_pairs(store, &response.headers).await?]));
                lowered.extend(1_u32.to_le_bytes());
                lowered.extend(words(&[self.place(store, &response.body).await?]));
                lowered
            }
        })
    }
}

fn words(spans: &[Span]) -> Vec<u8> {
    let words = spans.iter().flat_map(|(at, count)| [*at, *count]);
    words.flat_map(u32::to_le_bytes).collect()
}

/// An address behind another.
pub fn beyond(at: u32, offset: u32) -> wasmtime::Result<u32> {
    at.checked_add(offset).ok_or_else(|| {
        wasmtime::format_err!("{offset} bytes beyond {at:#x} are not within the guest's memory")
    })
}

/// What a function of the host's gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    Nothing,
    /// A handle.
    Number(u32),
    /// Or a text.
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    Response(Response),
}

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Why a function of the host's gives nothing: a variant whose cases have a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub case: u8,
    pub text: String,
}

/// A call from a guest to a function of the host's that takes time.
pub struct Call<'a, T: 'static> {
    caller: Caller<'a, T>,
    abi: Abi,
}

impl<'a, T: Send + 'static> Call<'a, T> {
    pub fn new(mut caller: Caller<'a, T>) -> wasmtime::Result<Self> {
        let abi = Abi::of_caller(&mut caller)?;
        Ok(Self { caller, abi })
    }

    pub fn host(&mut self) -> &mut T {
        self.caller.data_mut()
    }

    /// Whether the guest exports a function of this type.
    pub fn exports<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> bool {
        let function = self.caller.get_export(name).and_then(Extern::into_func);
        function.is_some_and(|function| function.typed::<P, R>(&self.caller).is_ok())
    }

    pub fn text(&self, at: u32, length: u32) -> wasmtime::Result<String> {
        self.abi.text(&self.caller, (at, length))
    }

    pub fn bytes(&self, at: u32, length: u32) -> wasmtime::Result<Vec<u8>> {
        self.abi.bytes(&self.caller, (at, length))
    }

    pub fn pairs(&self, at: u32, count: u32) -> wasmtime::Result<Vec<(String, String)>> {
        self.abi.pairs(&self.caller, (at, count))
    }

    /// Writes `expected<T, E>`, of which one has an address in it, to where the guest wants it.
    pub async fn answer(
        mut self,
        result: u32,
        outcome: std::result::Result<Value, Failure>,
    ) -> wasmtime::Result<()> {
        let mut lowered = Vec::new();
        match outcome {
            Ok(value) => {
                lowered.extend(0_u32.to_le_bytes());
                lowered.extend(self.abi.lower(&mut self.caller, value).await?);
            }
            Err(Failure { case, text }) => {
                lowered.extend(1_u32.to_le_bytes());
                lowered.extend(u32::from(case).to_le_bytes());
                lowered.extend(words(&[self
                    .abi
                    .place(&mut self.caller, text.as_bytes())
                    .await?]));
            }
        }
        self.abi.write(&mut self.caller, result, &lowered)
    }
}

/// The things of the host's that an instance holds, by their numbers.
pub struct Handles<H>(Vec<Option<H>>);

impl<H> Default for Handles<H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<H> Handles<H> {
    pub fn insert(&mut self, thing: H) -> wasmtime::Result<u32> {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or(self.0.len());
        if at >= MAX_HANDLES {
            wasmtime::bail!("the guest holds {MAX_HANDLES} resources; it gets no more before it drops one");
        }
        match self.0.get_mut(at) {
            Some(slot) => *slot = Some(thing),
            None => self.0.push(Some(thing)),
        }
        Ok(u32::try_from(at)?)
    }

    pub fn get(&self, handle: u32) -> wasmtime::Result<&H> {
        let found = self.0.get(handle as usize).and_then(Option::as_ref);
        found.ok_or_else(|| wasmtime::format_err!("the guest holds no resource with the number {handle}"))
    }

    pub fn remove(&mut self, handle: u32) -> wasmtime::Result<H> {
        let slot = self.0.get_mut(handle as usize);
        let found = slot.and_then(Option::take);
        found.ok_or_else(|| wasmtime::format_err!("the guest holds no resource with the number {handle}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_given_out_and_taken_back() {
        let mut handles = Handles::default();
        assert_eq!(
            (handles.insert('a').unwrap(), handles.insert('b').unwrap()),
            (0, 1)
        );
        assert_eq!(handles.remove(0).unwrap(), 'a');
        assert!(handles.get(0).is_err() && handles.remove(0).is_err() && handles.get(7).is_err());
        assert_eq!(handles.insert('c').unwrap(), 0);
        assert_eq!(handles.get(1).unwrap(), &'b');
        for _ in 2..MAX_HANDLES {
            handles.insert('d').unwrap();
        }
        let error = handles.insert('e').unwrap_err().to_string();
        assert!(error.contains("1024"), "{error}");
    }

    fn guest(text: &str) -> (Store<()>, Abi) {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, text).expect("a module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let abi = Abi::of_instance(&mut store, &instance).expect("it has a memory");
        (store, abi)
    }

    const ONE_PAGE: &str = r#"(module (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\02\00\00\00\12\00\00\00\03\00\00\00abcde\ff"))"#;

    #[test]
    fn what_a_guest_passes_is_read() {
        let (store, abi) = guest(ONE_PAGE);
        assert_eq!(
            abi.pairs(&store, (0, 1)).unwrap(),
            [("ab".to_owned(), "cde".to_owned())]
        );
        assert_eq!(abi.span(&store, 8).unwrap(), (18, 3));
        assert_eq!(abi.text(&store, (16, 5)).unwrap(), "abcde");
        assert_eq!(abi.bytes(&store, (20, 2)).unwrap(), [b'e', 0xff]);
        assert!(abi.bytes(&store, (65536, 0)).unwrap().is_empty());
    }

    #[test]
    fn what_is_beyond_the_memory_is_an_error() {
        let (mut store, abi) = guest(ONE_PAGE);
        for span in [(65536, 1), (u32::MAX, 1), (u32::MAX, u32::MAX), (1, 65536)] {
            assert!(abi.bytes(&store, span).is_err(), "{span:?}");
            assert!(abi.text(&store, span).is_err(), "{span:?}");
        }
        for list in [(65532, 1), (u32::MAX - 3, 1), (0, u32::MAX), (0, 1 << 28)] {
            assert!(abi.pairs(&store, list).is_err(), "{list:?}");
        }
        assert!(
            abi.text(&store, (20, 2))
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
        assert!(abi.write(&mut store, 65533, &[0; 4]).is_err());
        assert!(abi.response(&store, u32::MAX - 2).is_err());
        assert!(beyond(u32::MAX, 1).is_err());
    }

    #[tokio::test]
    async fn room_is_what_the_guest_says_it_is() {
        let text = r#"(module (memory (export "memory") 1)
            (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65534)))"#;
        let (mut store, abi) = guest(text);
        assert_eq!(abi.place(&mut store, b"ab").await.unwrap(), (65534, 2));
        assert!(abi.place(&mut store, b"abc").await.is_err());
        assert!(
            abi.place_pairs(&mut store, &[("a".to_owned(), "b".to_owned())])
                .await
                .is_err()
        );
        let (mut store, abi) = guest(ONE_PAGE);
        assert!(abi.place(&mut store, b"").await.is_ok());
        let error = abi.place(&mut store, b"a").await.unwrap_err().to_string();
        assert!(error.contains("canonical_abi_realloc"), "{error}");
    }
}
