package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.index.TermVectors;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.util.BytesRef;

/**
 * The tokens and impacts of given documents. From term vectors where the index stores them;
 * otherwise the whole dictionary is walked, which costs milliseconds a document.
 */
final class DocumentImpacts {
  private static final class Vector {
    final List<String> tokens = new ArrayList<>();
    final List<Integer> impacts = new ArrayList<>();

    void add(BytesRef token, int impact) {
      tokens.add(token.utf8ToString());
      impacts.add(impact);
    }
  }

  private DocumentImpacts() {}

  /**
   * Returns the number of tokens of each document (-1 where there is no such document) and all
   * impacts, int32, then all tokens as {@link Bytes#of(String[])}.
   */
  static byte[] read(Documents documents, String[] docids) throws IOException {
    int[] docs = documents.numbers(docids);
    Vector[] vectors = new Vector[docs.length];
    TermVectors stored = documents.reader.termVectors();
    List<Long> unstored = new ArrayList<>();
    for (long packed : Documents.sorted(docs)) {
      int doc = (int) (packed >>> 32);
      if (doc < 0) {
        continue;
      }
      Vector vector = vectors[(int) packed] = new Vector();
      Terms terms = stored.get(doc, Constants.CONTENTS);
      if (terms == null) {
        unstored.add(packed);
        continue;
      }
      TermsEnum each = terms.iterator();
      for (BytesRef token; (token = each.next()) != null; ) {
        vector.add(token, (int) each.totalTermFreq());
      }
    }
    walk(documents, unstored, vectors);
    return pack(vectors);
  }

  private static void walk(Documents documents, List<Long> unstored, Vector[] vectors)
      throws IOException {
    List<LeafReaderContext> leaves = documents.reader.leaves();
    for (int from = 0, to; from < unstored.size(); from = to) {
      LeafReaderContext leaf =
          leaves.get(ReaderUtil.subIndex((int) (unstored.get(from) >>> 32), leaves));
      int end = leaf.docBase + leaf.reader().maxDoc();
      for (to = from; to < unstored.size() && (unstored.get(to) >>> 32) < end; to++) {}
      Terms terms = leaf.reader().terms(Constants.CONTENTS);
      if (terms == null) {
        continue;
      }
      TermsEnum each = terms.iterator();
      PostingsEnum postings = null;
      for (BytesRef token; (token = each.next()) != null; ) {
        postings = each.postings(postings, PostingsEnum.FREQS);
        for (int i = from; i < to; i++) {
          int doc = (int) (unstored.get(i) >>> 32) - leaf.docBase;
          if (postings.docID() < doc) {
            postings.advance(doc);
          }
          if (postings.docID() == doc) {
            vectors[(int) (long) unstored.get(i)].add(token, postings.freq());
          }
        }
      }
    }
  }

  private static byte[] pack(Vector[] vectors) {
    List<String> tokens = new ArrayList<>();
    for (Vector vector : vectors) {
      if (vector != null) {
        tokens.addAll(vector.tokens);
      }
    }
    byte[] strings = Bytes.of(tokens.toArray(new String[0]));
    byte[] message =
        new byte[Math.addExact(4 * (vectors.length + tokens.size()), strings.length)];
    ByteBuffer out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    for (Vector vector : vectors) {
      out.putInt(vector == null ? -1 : vector.tokens.size());
    }
    for (Vector vector : vectors) {
      if (vector != null) {
        vector.impacts.forEach(out::putInt);
      }
    }
    out.put(strings);
    return message;
  }
}
