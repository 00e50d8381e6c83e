//! Workers that MPI connects.
//!
//! MPI's calls end the process when they fail, and its launcher ends all processes when one is lost, so
//! that nobody waits for a worker that isn't there.

use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};
use rein_data::workers::Link;

use crate::commands::report;

/// Values of one message; MPI counts in 32 bits.
const MESSAGE_VALUES: usize = 1 << 26;
/// How long a worker leaves telling of a failure to the first one, which is likely to have the same.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of a set of cores: one bit for each.
const CORE_BYTES: usize = 128;

/// MPI, from its beginning to its end.
pub(crate) struct Session {
    /// Not dropped where something went wrong: its end waits for all workers.
    universe: ManuallyDrop<Universe>,
    here: SimpleCommunicator,
}

impl Session {
    /// Meets the others.
    pub(crate) fn begin() -> Result<Self> {
        // One thread at a time calls MPI, but not always the same one.
        let begun = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = begun.expect("nothing has begun it before");
        ensure!(
            matches!(threading, Threading::Serialized | Threading::Multiple),
            "this MPI serves programs of one thread only; install one built with thread support"
        );
        let world = universe.world();
        let here = world.split_shared(world.rank());
        Ok(Self { universe: ManuallyDrop::new(universe), here })
    }

    /// What carries the workers' numbers.
    pub(crate) fn link(&self) -> Arc<dyn Link> {
        let world = self.universe.world();
        let [rank, count] = [world.rank(), world.size()].map(|it| it as usize);
        Arc::new(World { rank, count })
    }

    /// Workers on this machine.
    pub(crate) fn n_here(&self) -> usize {
        self.here.size() as usize
    }

    /// This worker's share of the machine's cores. Launchers may have given each worker cores of its own,
    /// or all of them to all.
    pub(crate) fn n_threads(&self) -> usize {
        let allowed = thread::available_parallelism().map_or(1, usize::from);
        let mine = cores(allowed);
        let mut all = [0_u8; CORE_BYTES];
        self.here.all_reduce_into(&mine[..], &mut all[..], SystemOperation::bitwise_or());
        let count =
            |cores: &[u8]| cores.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        // Fewer threads than cores: a quota, which is one for all.
        let shared = if allowed < count(&mine) { allowed } else { count(&all) };
        (shared / self.n_here()).clamp(1, allowed)
    }

    /// Ends MPI with all others, or ends all others.
    pub(crate) fn end(self, ended: Result<ExitCode>) -> ExitCode {
        let world = self.universe.world();
        match ended {
            Ok(code) => {
                drop(self.here);
                drop(ManuallyDrop::into_inner(self.universe));
                code
            }
            Err(error) => {
                if world.rank() > 0 {
                    thread::sleep(PATIENCE);
                }
                let error =
                    error.context(format!("worker {} of {}", world.rank() + 1, world.size()));
                world.abort(i32::from(report(&error)))
            }
        }
    }
}

/// The cores that this process may run on.
#[cfg(target_os = "linux")]
fn cores(n_allowed: usize) -> [u8; CORE_BYTES] {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).ok();
    let has = |core: usize| set.as_ref().map_or(core < n_allowed, |set: &CpuSet| set.is_set(core));
    let bits = |byte: usize| (0..8).map(move |bit| u8::from(has(8 * byte + bit)) << bit).sum();
    std::array::from_fn(bits)
}

/// As many as it may use: systems without a say in which.
#[cfg(not(target_os = "linux"))]
fn cores(n_allowed: usize) -> [u8; CORE_BYTES] {
    let bits = |byte: usize| (0..8).map(|bit| u8::from(8 * byte + bit < n_allowed) << bit).sum();
    std::array::from_fn(bits)
}

/// All workers.
#[derive(Debug)]
struct World {
    rank: usize,
    count: usize,
}

impl Link for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn sum_f32(&self, values: &mut [f32]) {
        sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        sum(values);
    }

    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let world = SimpleCommunicator::world();
        let mut counts = vec![0; self.count];
        world.all_gather_into(&in_32_bits(bytes.len()), &mut counts[..]);
        let begins = counts.iter().scan(0, |begin, count| {
            *begin += count;
            Some(*begin - count)
        });
        let begins: Vec<i32> = begins.collect();
        let mut all = vec![0_u8; in_32_bits(counts.iter().map(|it| *it as usize).sum()) as usize];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &begins[..]);
        world.all_gather_varcount_into(bytes, &mut parts);
        let part =
            |(begin, count): (&i32, &i32)| all[*begin as usize..][..*count as usize].to_vec();
        begins.iter().zip(&counts).map(part).collect()
    }

    fn spread(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let world = SimpleCommunicator::world();
        let first = world.process_at_rank(0);
        let mut count = in_32_bits(bytes.len());
        first.broadcast_into(&mut count);
        bytes.resize(count as usize, 0);
        first.broadcast_into(&mut bytes[..]);
        bytes
    }
}

fn sum<T: Equivalence + Clone>(values: &mut [T])
where
    [T]: mpi::traits::Buffer + mpi::traits::BufferMut,
{
    let world = SimpleCommunicator::world();
    for part in values.chunks_mut(MESSAGE_VALUES) {
        let own = part.to_vec();
        world.all_reduce_into(&own[..], part, SystemOperation::sum());
    }
}

fn in_32_bits(count: usize) -> i32 {
    i32::try_from(count).expect("what a step's rows say fits into 2 GiB")
}
