package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.Closeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.index.StoredFields;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.Bits;
import org.apache.lucene.util.BytesRef;

/** An index that Anserini made: its documents by docid and by Lucene's number, many at a time. */
public final class Documents implements Closeable {
  final IndexReader reader;

  public Documents(String path) throws IOException {
    reader = DirectoryReader.open(FSDirectory.open(Path.of(path)));
    for (LeafReaderContext leaf : reader.leaves()) {
      if (leaf.reader().getBinaryDocValues(Constants.ID) == null) {
        reader.close();
        throw new IllegalArgumentException(
            path + " keeps no docids as doc values: it was not made by a recent Anserini");
      }
    }
  }

  public int maxDoc() {
    return reader.maxDoc();
  }

  public int numDocs() {
    return reader.numDocs();
  }

  /** Returns the docids of all documents in the order of Lucene's numbers, joined by newlines. */
  public byte[] docids() throws IOException {
    int[] all = new int[reader.maxDoc()];
    Arrays.setAll(all, doc -> doc);
    return Bytes.of(docids(all));
  }

  /** Returns the docids of documents; they come from doc values, not from stored fields. */
  BytesRef[] docids(int[] docs) throws IOException {
    BytesRef[] docids = new BytesRef[docs.length];
    List<LeafReaderContext> leaves = reader.leaves();
    BinaryDocValues values = null;
    int base = 0;
    int end = -1;
    for (long packed : sorted(docs)) {
      int doc = (int) (packed >>> 32);
      if (doc >= end) {
        LeafReaderContext leaf = leaves.get(ReaderUtil.subIndex(doc, leaves));
        base = leaf.docBase;
        end = base + leaf.reader().maxDoc();
        values = leaf.reader().getBinaryDocValues(Constants.ID);
      }
      if (!values.advanceExact(doc - base)) {
        throw new IllegalArgumentException("document " + doc + " of the index has no docid");
      }
      docids[(int) packed] = BytesRef.deepCopyOf(values.binaryValue());
    }
    return docids;
  }

  /** Returns Lucene's number of each docid as int32, -1 where there is none. */
  public byte[] numbers(byte[] docids) throws IOException {
    return Bytes.of(numbers(Bytes.strings(docids)));
  }

  int[] numbers(String[] docids) throws IOException {
    // The queries of a batch share many documents, and looking one up costs microseconds.
    Map<String, Integer> found = new HashMap<>();
    for (String docid : docids) {
      found.put(docid, -1);
    }
    String[] unique = found.keySet().toArray(new String[0]);
    Arrays.sort(unique); // in the order of its terms a segment's dictionary is read forwards
    for (LeafReaderContext leaf : reader.leaves()) {
      Terms dictionary = leaf.reader().terms(Constants.ID);
      if (dictionary == null) {
        continue;
      }
      TermsEnum lookup = dictionary.iterator();
      Bits live = leaf.reader().getLiveDocs();
      PostingsEnum postings = null;
      for (String docid : unique) {
        if (found.get(docid) < 0 && lookup.seekExact(new BytesRef(docid))) {
          postings = lookup.postings(postings, PostingsEnum.NONE);
          int doc = postings.nextDoc();
          while (doc != DocIdSetIterator.NO_MORE_DOCS && live != null && !live.get(doc)) {
            doc = postings.nextDoc();
          }
          if (doc != DocIdSetIterator.NO_MORE_DOCS) {
            found.put(docid, leaf.docBase + doc);
          }
        }
      }
    }
    int[] numbers = new int[docids.length];
    Arrays.setAll(numbers, i -> found.get(docids[i]));
    return numbers;
  }

  /**
   * Returns a stored field of documents: an int32 length for each (-1 where the docid or the field
   * is absent), then the UTF-8 bytes of all.
   */
  public byte[] stored(byte[] docids, String field) throws IOException {
    int[] docs = numbers(Bytes.strings(docids));
    byte[][] texts = new byte[docs.length][];
    StoredFields fields = reader.storedFields();
    for (int i = 0; i < docs.length; i++) {
      String text = docs[i] < 0 ? null : fields.document(docs[i], Set.of(field)).get(field);
      texts[i] = text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }
    return Bytes.of(texts);
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }

  /** Returns (document, position) pairs packed into longs, by document: doc values go forwards. */
  static long[] sorted(int[] docs) {
    long[] packed = new long[docs.length];
    for (int i = 0; i < docs.length; i++) {
      packed[i] = ((long) docs[i] << 32) | i;
    }
    Arrays.sort(packed);
    return packed;
  }
}
