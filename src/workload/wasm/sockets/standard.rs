//! Functions of preview 1 that sockets have in common with files: where the descriptor is no socket, the
//! engine's own does the work.

use wasmtime_wasi::p1::{WasiP1Ctx, wasi_snapshot_preview1};

use super::errno::{Errno, Result};
use super::table::FIRST;
use super::{Arguments, Body, Call, poll};

/// How a function chooses.
#[derive(Clone, Copy)]
pub enum Shared {
    /// By its first argument, a descriptor.
    ByDescriptor(Stock, Body),
    Close,
    Renumber,
    Poll,
}

/// The engine's functions.
#[derive(Clone, Copy)]
pub enum Stock {
    Read,
    Write,
    Status,
    SetFlags,
    FileStatus,
    Close,
    Renumber,
    Poll,
    Accept,
    Recv,
    Send,
    Shutdown,
}

/// What such a function works on.
pub struct Context<'a> {
    pub call: Call<'a>,
    pub wasi: &'a mut WasiP1Ctx,
}

/// What a guest is given for an outcome.
pub fn number(outcome: Result<()>) -> i32 {
    outcome.map_or_else(|errno| errno.0.into(), |()| 0)
}

const SUCCESS: i32 = 0;

/// Carries a call out; an error is a trap.
pub async fn serve(shared: Shared, context: &mut Context<'_>, arguments: Arguments) -> wasmtime::Result<i32> {
    match shared {
        Shared::ByDescriptor(_, body) if context.call.sockets.contains(arguments[0]) => {
            Ok(number(body(&mut context.call, arguments)))
        }
        Shared::ByDescriptor(stock, _) => context.stock(stock, arguments).await,
        Shared::Close => context.close(arguments[0]).await,
        Shared::Renumber => context.renumber(arguments[0], arguments[1]).await,
        Shared::Poll => poll::poll(context, arguments).await,
    }
}

impl Context<'_> {
    pub async fn stock(&mut self, stock: Stock, arguments: Arguments) -> wasmtime::Result<i32> {
        use wasi_snapshot_preview1 as preview1;
        let [a, b, c, d, e, f, ..] = arguments.map(u32::cast_signed);
        let wasi = &mut *self.wasi;
        let memory = &mut self.call.memory.as_guest();
        match stock {
            Stock::Read => preview1::fd_read(wasi, memory, a, b, c, d).await,
            Stock::Write => preview1::fd_write(wasi, memory, a, b, c, d).await,
            Stock::Status => preview1::fd_fdstat_get(wasi, memory, a, b).await,
            Stock::SetFlags => preview1::fd_fdstat_set_flags(wasi, memory, a, b),
            Stock::FileStatus => preview1::fd_filestat_get(wasi, memory, a, b).await,
            Stock::Close => preview1::fd_close(wasi, memory, a).await,
            Stock::Renumber => preview1::fd_renumber(wasi, memory, a, b).await,
            Stock::Poll => preview1::poll_oneoff(wasi, memory, a, b, c, d).await,
            Stock::Accept => preview1::sock_accept(wasi, memory, a, b, c),
            Stock::Recv => preview1::sock_recv(wasi, memory, a, b, c, d, e, f),
            Stock::Send => preview1::sock_send(wasi, memory, a, b, c, d, e),
            Stock::Shutdown => preview1::sock_shutdown(wasi, memory, a, b),
        }
    }

    async fn stock_close(&mut self, number: u32) -> wasmtime::Result<i32> {
        self.stock(Stock::Close, [number, 0, 0, 0, 0, 0, 0, 0]).await
    }

    async fn close(&mut self, descriptor: u32) -> wasmtime::Result<i32> {
        if let Some(socket) = self.call.sockets.remove(descriptor) {
            drop(socket);
            // What it was put over has kept the number until now.
            return match descriptor {
                FIRST.. => Ok(SUCCESS),
                _ => self.stock_close(descriptor).await,
            };
        }
        let outcome = self.stock_close(descriptor).await?;
        if outcome == SUCCESS {
            self.call.sockets.forget_stream(descriptor);
        }
        Ok(outcome)
    }

    /// Moves a descriptor to the number of another one, which is closed.
    async fn renumber(&mut self, from: u32, to: u32) -> wasmtime::Result<i32> {
        let sockets = &mut *self.call.sockets;
        match (sockets.contains(from), sockets.contains(to)) {
            (true, _) if from == to => Ok(SUCCESS),
            (true, to_socket) => {
                if !to_socket && (to >= FIRST || self.stock_kind(to).await?.is_err()) {
                    return Ok(number(Err(Errno::BADF)));
                }
                if let Some(socket) = self.call.sockets.remove(from) {
                    self.call.sockets.cover(to, socket);
                }
                match from {
                    FIRST.. => Ok(SUCCESS),
                    _ => self.stock_close(from).await,
                }
            }
            // The engine cannot number its own as sockets are.
            (false, true) if to >= FIRST => {
                let known = self.stock_kind(from).await?;
                Ok(number(known.and(Err(Errno::NOTSUP))))
            }
            (false, _) => {
                let outcome = self.stock(Stock::Renumber, [from, to, 0, 0, 0, 0, 0, 0]).await?;
                if outcome == SUCCESS {
                    self.call.sockets.remove(to);
                    self.call.sockets.move_stream(from, to);
                }
                Ok(outcome)
            }
        }
    }

    /// The `filetype` of a descriptor of the engine's.
    pub async fn stock_kind(&mut self, descriptor: u32) -> wasmtime::Result<Result<u8>> {
        let mut scratch = Scratch::default();
        let memory = &mut wiggle::GuestMemory::Unshared(&mut scratch.0);
        let descriptor = descriptor.cast_signed();
        let outcome = wasi_snapshot_preview1::fd_fdstat_get(self.wasi, memory, descriptor, 0).await?;
        Ok(errno(outcome).map(|()| scratch.0[0]))
    }

    /// What a clock of the engine's shows, in nanoseconds; its monotonic clock starts with the guest.
    pub fn stock_time(&mut self, clock: u32) -> wasmtime::Result<Result<u64>> {
        let mut scratch = Scratch::default();
        let memory = &mut wiggle::GuestMemory::Unshared(&mut scratch.0);
        let clock = clock.cast_signed();
        let outcome = wasi_snapshot_preview1::clock_time_get(self.wasi, memory, clock, 0, 0)?;
        let time = || u64::from_le_bytes(std::array::from_fn(|index| scratch.0[index]));
        Ok(errno(outcome).map(|()| time()))
    }
}

fn errno(outcome: i32) -> Result<()> {
    match u16::try_from(outcome) {
        Ok(0) => Ok(()),
        Ok(number) => Err(Errno(number)),
        Err(_) => Err(Errno::IO),
    }
}

/// Memory for asking the engine something without the guest's, aligned as its functions want it.
#[derive(Default)]
#[repr(align(8))]
struct Scratch([u8; 32]);
