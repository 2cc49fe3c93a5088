package io.pyseriniext;

import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.index.IndexOptions;

/** The sparse vectors of a file one by one, as Anserini's indexing reads documents. */
public final class SparseVectors implements Closeable {
  /** A document; it may be used on another thread than the file. */
  public static final class Vector {
    public final String docid;
    public final String text;
    public final String raw;
    private final String[] tokens;
    private final int[] impacts;

    private Vector(SparseJson source, Quantiser quantiser) {
      docid = source.docid;
      text = source.fullText();
      raw = source.raw();
      tokens = Arrays.copyOf(quantiser.tokens, quantiser.count);
      impacts = Arrays.copyOf(quantiser.impacts, quantiser.count);
    }

    public boolean isEmpty() {
      return tokens.length == 0;
    }

    /** Returns the field to index: postings with impacts as frequencies, no norms. */
    public Field field(String name, boolean storeVectors) {
      ImpactStream stream = new ImpactStream();
      stream.set(tokens, impacts, tokens.length);
      return new Field(name, (TokenStream) stream, type(storeVectors));
    }
  }

  private final Lines lines;
  private final SparseJson source = new SparseJson("");
  private final Quantiser quantiser;
  private Lines.Batch batch;
  private int next;

  public SparseVectors(String file, double scale) throws IOException {
    lines = new Lines(file);
    quantiser =
        new Quantiser(
            new Quantiser.Plan(scale, false, null, 1, 0, 0, 1, 1, Integer.MAX_VALUE));
  }

  /** Returns the next document, or null; IllegalArgumentException names the line that is none. */
  public Vector next() throws IOException {
    while (batch == null || next == batch.count) {
      batch = lines.next();
      next = 0;
      if (batch == null) {
        return null;
      }
    }
    int line = next++;
    try {
      source.read(batch.data, batch.starts[line], batch.ends[line]);
      quantiser.apply(source);
    } catch (IllegalArgumentException error) {
      throw new IllegalArgumentException(batch.place(line) + ": " + error.getMessage(), error);
    }
    return new Vector(source, quantiser);
  }

  @Override
  public void close() throws IOException {
    lines.close();
  }

  /** Returns how an impact field is indexed. */
  static FieldType type(boolean storeVectors) {
    FieldType type = new FieldType();
    type.setTokenized(true);
    type.setOmitNorms(true);
    type.setIndexOptions(IndexOptions.DOCS_AND_FREQS);
    type.setStoreTermVectors(storeVectors);
    type.freeze();
    return type;
  }
}
