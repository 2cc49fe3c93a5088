package io.pyseriniext;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Runs the tasks of a batch, one for each query, on several threads. */
final class Parallel {
  private Parallel() {}

  interface Task {
    void run(int number) throws IOException;
  }

  static void forEach(int tasks, int threads, Task task) throws IOException {
    if (threads < 2 || tasks < 2) {
      for (int number = 0; number < tasks; number++) {
        task.run(number);
      }
      return;
    }
    ExecutorService pool = Executors.newFixedThreadPool(Math.min(threads, tasks));
    try {
      List<Future<?>> running = new ArrayList<>(tasks);
      for (int i = 0; i < tasks; i++) {
        int number = i;
        running.add(
            pool.submit(
                () -> {
                  task.run(number);
                  return null;
                }));
      }
      for (Future<?> one : running) {
        one.get();
      }
    } catch (ExecutionException error) {
      if (error.getCause() instanceof IllegalArgumentException cause) {
        throw cause;
      }
      throw new IOException(error.getCause());
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new IOException(error);
    } finally {
      pool.shutdownNow();
    }
  }
}
