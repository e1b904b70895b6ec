//! Modules of any size, for what depends on it: how long compiling takes, what the first start waits for. Made
//! by a fixed recipe, so that a size always gives the same bytes.

/// What a module of this kind writes to its standard output.
pub const OUTPUT: &str = "ready\n";

/// Bytes of an average function of the recipe.
const FUNCTION: usize = 522;

/// A WASI preview 1 command of about `size` bytes of code that calls a few of its functions and prints [`OUTPUT`].
pub fn module(size: usize) -> Vec<u8> {
    let count = (size / FUNCTION).max(1);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    // () -> (), (i32, i32) -> i32, and that of `fd_write`.
    let types = [
        vec![0x60, 0, 0],
        vec![0x60, 2, I32, I32, 1, I32],
        vec![0x60, 4, I32, I32, I32, I32, 1, I32],
    ];
    section(&mut bytes, 1, types.len(), &types.concat());
    let mut import = name("wasi_snapshot_preview1");
    import.extend(name("fd_write"));
    import.extend([0, 2]);
    section(&mut bytes, 2, 1, &import);
    let mut functions = vec![1; count];
    functions.push(0);
    section(&mut bytes, 3, functions.len(), &functions);
    section(&mut bytes, 5, 1, &[0, 2]);
    let mut exports = name("memory");
    exports.extend([2, 0]);
    exports.extend(name("_start"));
    exports.push(0);
    unsigned(&mut exports, count + 1);
    section(&mut bytes, 7, 2, &exports);
    let mut code = Vec::new();
    for at in 0..count {
        let body = function(&mut random, at, count);
        unsigned(&mut code, body.len());
        code.extend(body);
    }
    let body = start(count);
    unsigned(&mut code, body.len());
    code.extend(body);
    section(&mut bytes, 10, count + 1, &code);
    // One buffer at 8: address 64, and its length.
    let mut data = vec![0, CONST, 8, END, 8, 64, 0, 0, 0, OUTPUT.len() as u8, 0, 0, 0];
    data.extend([0, CONST, 0xc0, 0, END, OUTPUT.len() as u8]);
    data.extend(OUTPUT.as_bytes());
    section(&mut bytes, 11, 2, &data);
    bytes
}

const I32: u8 = 0x7f;
const END: u8 = 0x0b;
const CONST: u8 = 0x41;
const GET: u8 = 0x20;
const SET: u8 = 0x21;
const CALL: u8 = 0x10;

/// xorshift64, which is random enough for that.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u8::try_from(self.0 % limit).expect("small limits")
    }
}

/// Arithmetic, memory accesses and branches on six locals; sometimes a call of a later function.
fn function(random: &mut Random, at: usize, count: usize) -> Vec<u8> {
    // Add, subtract, multiply, and, or, xor, shift left, rotate.
    const OPERATIONS: [u8; 8] = [0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x77];
    let mut body = vec![1, 4, I32];
    for statement in 0..40 {
        let (a, b, to) = (random.below(6), random.below(6), random.below(6));
        let operation = OPERATIONS[usize::from(random.below(8))];
        match random.below(8) {
            // Loads and stores below 64 kB, aligned.
            0 | 1 => body.extend([GET, a, CONST, 0xfc, 0xff, 0x03, 0x71, 0x28, 2, 0, SET, to]),
            2 => body.extend([
                GET, a, CONST, 0xfc, 0xff, 0x03, 0x71, GET, b, 0x36, 2, 0x80, 0x80, 4,
            ]),
            3 => {
                // if a < b: to = a op b, else to = b + 1
                body.extend([
                    GET, a, GET, b, 0x48, 0x04, 0x40, GET, a, GET, b, operation, SET, to,
                ]);
                body.extend([0x05, GET, b, CONST, 1, 0x6a, SET, to, END]);
            }
            _ => {
                let constant = random.below(63);
                body.extend([GET, a, GET, b, operation, CONST, constant, 0x6a, SET, to]);
            }
        }
        // A chain of calls of at most a few dozen functions.
        if statement == 20 && at % 32 != 31 && at + 1 < count {
            body.extend([GET, a, GET, b, CALL]);
            unsigned(&mut body, at + 2);
            body.extend([SET, to]);
        }
    }
    body.extend([GET, 2, END]);
    body
}

/// Calls a function in every part of the module, and prints.
fn start(count: usize) -> Vec<u8> {
    let mut body = vec![0];
    for at in (0..count).step_by((count / 8).max(1)) {
        body.extend([CONST, 7, CONST, 9, CALL]);
        unsigned(&mut body, at + 1);
        body.push(0x1a);
    }
    body.extend([CONST, 1, CONST, 8, CONST, 1, CONST, 0, CALL, 0, 0x1a, END]);
    body
}

fn section(bytes: &mut Vec<u8>, id: u8, entries: usize, content: &[u8]) {
    let mut counted = Vec::new();
    unsigned(&mut counted, entries);
    bytes.push(id);
    unsigned(bytes, counted.len() + content.len());
    bytes.extend(counted);
    bytes.extend(content);
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).expect("a short name")];
    bytes.extend(text.as_bytes());
    bytes
}

/// LEB128.
fn unsigned(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
