package io.anserini.collection;

import io.pyseriniext.SparseVectors;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Path;
import java.util.NoSuchElementException;
import java.util.Set;

/**
 * Anserini's {@code JsonVectorCollection} without words repeated by their weight; for {@code
 * SparseVectorDocumentGenerator}. It stands in this package because Anserini looks collections up
 * here.
 *
 * <p>Impacts are weight * scale, rounded; the scale is 1, or what the environment variable
 * PYSERINI_EXT_SCALE says.
 */
public class SparseVectorCollection extends DocumentCollection<SparseVectorCollection.Document> {
  static final String SCALE = "PYSERINI_EXT_SCALE";

  public SparseVectorCollection(Path path) {
    this.path = path;
    allowedFileSuffix =
        Set.of(".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst");
  }

  @Override
  public FileSegment<Document> createFileSegment(Path file) throws IOException {
    return new Segment(file);
  }

  @Override
  public FileSegment<Document> createFileSegment(BufferedReader reader) {
    throw new UnsupportedOperationException("sparse vectors are read from files");
  }

  /** A file of the collection. */
  public static final class Segment extends FileSegment<Document> {
    private final SparseVectors vectors;

    Segment(Path file) throws IOException {
      super(file);
      String scale = System.getenv(SCALE);
      vectors = new SparseVectors(file.toString(), scale == null ? 1 : Double.parseDouble(scale));
    }

    @Override
    protected void readNext() throws IOException {
      SparseVectors.Vector next = vectors.next();
      if (next == null) {
        throw new NoSuchElementException("end of file");
      }
      bufferedRecord = new Document(next);
    }

    @Override
    public void close() {
      try {
        vectors.close();
      } catch (IOException error) {
        // It was only read from.
      }
      super.close();
    }
  }

  /** A document of the collection. */
  public static final class Document implements SourceDocument {
    public final SparseVectors.Vector vector;

    Document(SparseVectors.Vector vector) {
      this.vector = vector;
    }

    @Override
    public String id() {
      return vector.docid;
    }

    @Override
    public String contents() {
      return vector.text;
    }

    @Override
    public String raw() {
      return vector.raw;
    }

    @Override
    public boolean indexable() {
      return true;
    }
  }
}
