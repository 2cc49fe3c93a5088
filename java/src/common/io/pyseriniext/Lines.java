package io.pyseriniext;

import com.github.luben.zstd.ZstdInputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.GZIPInputStream;

/** The lines of a file (plain, .gz or .zst), many at a time; memory is one batch. */
final class Lines implements Closeable {
  private static final int BLOCK = 1 << 18;

  /** Lines that are not blank: line i is {@code data[starts[i] .. ends[i])}. */
  static final class Batch {
    final byte[] data;
    int count;
    int[] starts = new int[64];
    int[] ends = new int[64];
    int[] numbers = new int[64];
    private final String file;

    private Batch(String file, byte[] data) {
      this.file = file;
      this.data = data;
    }

    /** Returns where a line stands, for messages. */
    String place(int line) {
      return file + ", line " + numbers[line];
    }

    private void add(int start, int end, int number) {
      while (end > start && (data[end - 1] == '\r' || data[end - 1] == ' ')) {
        end--;
      }
      if (end == start) {
        return;
      }
      if (count == starts.length) {
        starts = Arrays.copyOf(starts, 2 * count);
        ends = Arrays.copyOf(ends, 2 * count);
        numbers = Arrays.copyOf(numbers, 2 * count);
      }
      starts[count] = start;
      ends[count] = end;
      numbers[count++] = number;
    }
  }

  private final String file;
  private final InputStream in;
  private byte[] rest = new byte[0];
  private int number = 1;
  private boolean begun;

  Lines(String file) throws IOException {
    this.file = file;
    InputStream raw = null;
    try {
      raw = Files.newInputStream(Path.of(file));
      in = file.endsWith(".gz") ? new GZIPInputStream(raw, 1 << 16)
          : file.endsWith(".zst") ? new ZstdInputStream(raw).setContinuous(false) : raw;
    } catch (IOException error) {
      if (raw != null) {
        raw.close();
      }
      throw unreadable(error);
    }
  }

  /** Returns the next lines, or null at the end of the file. */
  Batch next() throws IOException {
    byte[] data = Arrays.copyOf(rest, rest.length + BLOCK);
    int filled = rest.length;
    int last = -1; // the last line break
    boolean ended = false;
    while (last < 0 && !ended) {
      if (filled == data.length) {
        data = Arrays.copyOf(data, 2 * filled);
      }
      int from = filled;
      while (filled < data.length && !ended) {
        int read = read(data, filled);
        ended = read < 0;
        filled += Math.max(0, read);
      }
      for (int i = filled - 1; i >= from && last < 0; i--) {
        last = data[i] == '\n' ? i : -1;
      }
    }
    if (filled == 0) {
      return null;
    }
    int stop = ended ? filled : last + 1;
    rest = Arrays.copyOfRange(data, stop, filled);
    Batch batch = new Batch(file, data);
    int start = 0;
    if (!begun && filled > 2 && (data[0] & 255) == 0xEF && (data[1] & 255) == 0xBB) {
      start = 3; // a byte order mark
    }
    begun = true;
    for (int i = start; i < stop; i++) {
      if (data[i] == '\n') {
        batch.add(start, i, number++);
        start = i + 1;
      }
    }
    batch.add(start, stop, number);
    return batch;
  }

  private int read(byte[] data, int filled) {
    try {
      return in.read(data, filled, data.length - filled);
    } catch (IOException error) {
      throw unreadable(error);
    }
  }

  private IllegalArgumentException unreadable(IOException error) {
    return new IllegalArgumentException(
        String.format(
            "%s, after line %d: cannot be read further (%s); is the file complete?",
            file, number - 1, error.getMessage()));
  }

  @Override
  public void close() throws IOException {
    in.close();
  }
}
