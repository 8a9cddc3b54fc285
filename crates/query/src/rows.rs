//! A running query: batches through a channel of one, so that nothing is computed far ahead of its reader.

use crate::error::QueryError;
use crate::left_out::LeftOut;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;

/// What one query may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows after which the answer is cut off, and says so; `None` for all.
    pub max_rows: Option<u64>,
    /// From the question to the last row.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_rows: None,
            timeout: Duration::from_secs(60),
        }
    }
}

type Deadline = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The rows of a query as they come. Dropping it ends the query.
pub struct Rows {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    _task: EndsWithItsReader,
    deadline: Deadline,
    limits: Limits,
    /// Rows given so far.
    given: u64,
    state: State,
    left_out: LeftOut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Whole,
    Truncated,
    Failed,
}

struct EndsWithItsReader(JoinHandle<()>);

impl Drop for EndsWithItsReader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rows {
    /// Runs `begin`, and then the stream that it gives, on the engine's threads.
    pub(crate) async fn start<B>(
        handle: &Handle,
        begin: B,
        limits: Limits,
        left_out: LeftOut,
    ) -> Result<Rows, QueryError>
    where
        B: Future<
                Output = Result<
                    (SendableRecordBatchStream, Option<OwnedSemaphorePermit>),
                    QueryError,
                >,
            > + Send
            + 'static,
    {
        let (told, begun) = oneshot::channel();
        let (send, batches) = mpsc::channel(1);
        let task = handle.spawn(async move {
            // The turn is given back when the stream has ended, or with this task.
            let (mut stream, _turn) = match begin.await {
                Ok((stream, turn)) => {
                    let _ = told.send(Ok(stream.schema()));
                    (stream, turn)
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                if send.send(batch.map_err(QueryError::from)).await.is_err() {
                    return;
                }
            }
        });
        let task = EndsWithItsReader(task);
        let mut deadline = deadline(handle, limits.timeout);
        let schema = tokio::select! {
            biased;
            schema = begun => schema.map_err(QueryError::panic)??,
            () = &mut deadline => return Err(QueryError::Time(limits.timeout)),
        };
        Ok(Rows {
            schema,
            batches,
            _task: task,
            deadline,
            limits,
            given: 0,
            state: State::Running,
            left_out,
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` at the end, which [`Rows::is_truncated`] tells apart.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        while self.state == State::Running {
            let batch = tokio::select! {
                biased;
                () = &mut self.deadline => Some(Err(QueryError::Time(self.limits.timeout))),
                batch = self.batches.recv() => batch,
            };
            match batch {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => return self.within_limit(batch).map(Ok),
                Some(Err(error)) => {
                    self.state = State::Failed;
                    return Some(Err(error));
                }
                None => self.state = State::Whole,
            }
        }
        None
    }

    /// Whether there were more rows than the limit.
    pub fn is_truncated(&self) -> bool {
        self.state == State::Truncated
    }

    /// What the answer does not have though it was asked for, a sentence each; whole at the end.
    pub fn notices(&self) -> Vec<String> {
        self.left_out.notices()
    }

    fn within_limit(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        let rows = batch.num_rows() as u64;
        let left = match self.limits.max_rows {
            Some(most) => most - self.given,
            None => rows,
        };
        if rows > left {
            self.state = State::Truncated;
        }
        let given = rows.min(left);
        self.given += given;
        (given > 0).then(|| batch.slice(0, given as usize))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a query is the wall clock's, as its reader's patience is"
)]
fn deadline(engine: &Handle, timeout: Duration) -> Deadline {
    // On the clock of who waits: the engine's threads may all be computing, and do not look at theirs meanwhile.
    let clock = Handle::try_current().unwrap_or_else(|_| engine.clone());
    let _entered = clock.enter();
    Box::pin(tokio::time::sleep(timeout))
}
