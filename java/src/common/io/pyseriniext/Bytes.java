package io.pyseriniext;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.lucene.util.BytesRef;

/**
 * What crosses the border to Python, as byte arrays: one array a batch costs a memory copy, one
 * call a hit costs microseconds each. Numbers are little-endian; strings are UTF-8.
 */
public final class Bytes {
  private Bytes() {}

  /** Reads {@code int32 n}, {@code n} lengths, then the bytes of {@code n} strings. */
  public static String[] strings(byte[] message) {
    ByteBuffer in = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    String[] strings = new String[in.getInt()];
    int position = 4 + 4 * strings.length;
    for (int i = 0; i < strings.length; i++) {
      int length = in.getInt();
      strings[i] = new String(message, position, length, StandardCharsets.UTF_8);
      position += length;
    }
    return strings;
  }

  /** Reads int32 numbers. */
  public static int[] ints(byte[] message) {
    int[] numbers = new int[message.length / 4];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(numbers);
    return numbers;
  }

  /** Reads float32 numbers. */
  public static float[] floats(byte[] message) {
    float[] numbers = new float[message.length / 4];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(numbers);
    return numbers;
  }

  /** Reads float64 numbers. */
  public static double[] doubles(byte[] message) {
    double[] numbers = new double[message.length / 8];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer().get(numbers);
    return numbers;
  }

  /** Writes int32 numbers. */
  public static byte[] of(int[] numbers) {
    byte[] message = new byte[4 * numbers.length];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().put(numbers);
    return message;
  }

  /** Writes float32 numbers. */
  public static byte[] of(float[] numbers) {
    byte[] message = new byte[4 * numbers.length];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().put(numbers);
    return message;
  }

  /** Writes float64 numbers. */
  public static byte[] of(double[] numbers) {
    byte[] message = new byte[8 * numbers.length];
    ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer().put(numbers);
    return message;
  }

  /** Writes strings as {@link #of(byte[][])} writes texts. */
  public static byte[] of(String[] strings) {
    byte[][] texts = new byte[strings.length][];
    Arrays.setAll(texts, i -> strings[i].getBytes(StandardCharsets.UTF_8));
    return of(texts);
  }

  /** Writes the number of hits of each query, all scores, then all docids joined by newlines. */
  public static byte[] of(Hits[] batch) {
    int count = 0;
    for (Hits hits : batch) {
      count = Math.addExact(count, hits.docids.length);
    }
    BytesRef[] docids = new BytesRef[count];
    int filled = 0;
    for (Hits hits : batch) {
      System.arraycopy(hits.docids, 0, docids, filled, hits.docids.length);
      filled += hits.docids.length;
    }
    byte[] message = new byte[Math.addExact(4 * (batch.length + count), joinedLength(docids))];
    ByteBuffer out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    for (Hits hits : batch) {
      out.putInt(hits.docids.length);
    }
    for (Hits hits : batch) {
      for (float score : hits.scores) {
        out.putFloat(score);
      }
    }
    join(docids, out);
    return message;
  }

  /** Writes the number of hits of each query, all scores, then Lucene's numbers of all. */
  public static byte[] numbers(Hits[] batch) {
    int count = 0;
    for (Hits hits : batch) {
      count = Math.addExact(count, hits.docs.length);
    }
    byte[] message = new byte[Math.multiplyExact(4, batch.length + 2 * count)];
    ByteBuffer out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    for (Hits hits : batch) {
      out.putInt(hits.docs.length);
    }
    for (Hits hits : batch) {
      for (float score : hits.scores) {
        out.putFloat(score);
      }
    }
    for (Hits hits : batch) {
      for (int doc : hits.docs) {
        out.putInt(doc);
      }
    }
    return message;
  }

  /** Writes the length of each text, -1 for null, then the bytes of all. */
  public static byte[] of(byte[][] texts) {
    int size = 4 * texts.length;
    for (byte[] text : texts) {
      size = Math.addExact(size, text == null ? 0 : text.length);
    }
    byte[] message = new byte[size];
    ByteBuffer out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    for (byte[] text : texts) {
      out.putInt(text == null ? -1 : text.length);
    }
    for (byte[] text : texts) {
      if (text != null) {
        out.put(text);
      }
    }
    return message;
  }

  /** Writes docids joined by newlines. */
  public static byte[] of(BytesRef[] docids) {
    byte[] message = new byte[joinedLength(docids)];
    join(docids, ByteBuffer.wrap(message));
    return message;
  }

  private static int joinedLength(BytesRef[] docids) {
    int length = Math.max(0, docids.length - 1);
    for (BytesRef docid : docids) {
      length = Math.addExact(length, docid.length);
    }
    return length;
  }

  private static void join(BytesRef[] docids, ByteBuffer out) {
    for (int i = 0; i < docids.length; i++) {
      if (i > 0) {
        out.put((byte) '\n');
      }
      BytesRef docid = docids[i];
      for (int j = docid.offset; j < docid.offset + docid.length; j++) {
        if (docid.bytes[j] == '\n') {
          throw new IllegalArgumentException(
              "docid \"" + docid.utf8ToString() + "\" contains a line break");
        }
      }
      out.put(docid.bytes, docid.offset, docid.length);
    }
  }
}
