package io.pyseriniext;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;

/**
 * Reads files line by line with one thread and works on the lines with several.
 *
 * <p>What goes wrong is reported for the first bad line of the collection, however the threads run:
 * batches before the failing one are worked through, those behind it are dropped.
 */
public abstract class LineJob {
  /** Works on lines, in one thread. */
  interface Worker {
    /** Takes line i of a batch; an IllegalArgumentException says what is wrong with it. */
    void accept(Lines.Batch batch, int i) throws IOException;

    /** Called after the last line. */
    void finish();
  }

  private record Numbered(long number, Lines.Batch batch) {}

  private static final Numbered END = new Numbered(Long.MAX_VALUE, null);

  private final String[] files;
  private final int workers;
  private final BlockingQueue<Numbered> queue;
  private final List<Thread> threads = new ArrayList<>();
  private final LongAdder done = new LongAdder();
  private volatile long failedAt = Long.MAX_VALUE;
  private Throwable failure;

  LineJob(byte[] files, int workers) {
    this.files = Bytes.strings(files);
    this.workers = workers;
    queue = new ArrayBlockingQueue<>(2 * workers);
    threads.add(new Thread(this::read, "read lines"));
  }

  abstract Worker worker();

  public final void start() {
    for (int i = 0; i < workers; i++) {
      Worker worker = worker();
      threads.add(new Thread(() -> work(worker), "work on lines"));
    }
    for (Thread thread : threads) {
      thread.setDaemon(true);
      thread.start();
    }
  }

  /** Returns the number of lines done so far. */
  public final long done() {
    return done.sum();
  }

  /**
   * Waits for the end, for a while.
   *
   * @return whether it has come
   * @throws IllegalArgumentException naming the file and line of what is wrong
   * @throws IOException if an index cannot be written
   */
  public final boolean finished(int millis) throws IOException, InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
    for (Thread thread : threads) {
      long left = TimeUnit.NANOSECONDS.toMillis(deadline - System.nanoTime());
      thread.join(Math.max(1, left));
      if (thread.isAlive()) {
        return false;
      }
    }
    synchronized (this) {
      if (failure instanceof IllegalArgumentException wrong) {
        throw wrong;
      }
      if (failure instanceof OutOfMemoryError) {
        throw new IOException("not enough memory for the Java heap", failure);
      }
      if (failure != null) {
        throw failure instanceof IOException error ? error : new IOException(failure);
      }
    }
    return true;
  }

  /** Ends the job before its time. */
  public final void stop() throws InterruptedException {
    fail(-1, new IOException("stopped"));
    for (Thread thread : threads) {
      thread.join();
    }
  }

  private void read() {
    long number = 0;
    try {
      for (String file : files) {
        try (Lines lines = new Lines(file)) {
          for (Lines.Batch batch; number < failedAt && (batch = lines.next()) != null; number++) {
            queue.put(new Numbered(number, batch));
          }
        }
      }
    } catch (Throwable error) {
      fail(number, error);
    }
    try {
      queue.put(END);
    } catch (InterruptedException error) {
      fail(-1, error);
    }
  }

  private void work(Worker worker) {
    try {
      for (Numbered next; (next = queue.take()) != END; ) {
        if (next.number < failedAt) {
          work(worker, next);
        }
      }
      queue.put(END); // for the next worker
      worker.finish();
    } catch (Throwable error) {
      fail(-1, error);
    }
  }

  private void work(Worker worker, Numbered next) {
    Lines.Batch batch = next.batch;
    for (int i = 0; i < batch.count; i++) {
      try {
        worker.accept(batch, i);
        done.increment();
      } catch (IllegalArgumentException error) {
        fail(
            next.number,
            new IllegalArgumentException(batch.place(i) + ": " + error.getMessage(), error));
        return;
      } catch (Throwable error) {
        fail(next.number, error);
        return;
      }
    }
  }

  private synchronized void fail(long number, Throwable error) {
    // What stops all work comes before what is wrong with a line.
    long rank = error instanceof IllegalArgumentException ? number : -1;
    if (rank < failedAt) {
      failedAt = rank;
      failure = error;
    }
  }
}
